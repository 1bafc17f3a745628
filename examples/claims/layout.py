"""Step 4, layout analysis: PicoDet trained on CDLA (see models/README.md), by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from .ingest import render
from .types import Document, Layout, Region

MODEL = Path(__file__).parent / "models" / "layout_cdla.onnx"
LABELS = (
    "text",
    "title",
    "figure",
    "figure_caption",
    "table",
    "table_caption",
    "header",
    "footer",
    "reference",
    "equation",
)
HEIGHT, WIDTH, STRIDES = 800, 608, (8, 16, 32, 64)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class LayoutModel:
    """Regions of the first page. Built once per worker."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            str(MODEL), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, document: Document) -> Layout:
        """Regions with a score above 0.4, overlapping ones of a label suppressed."""
        pixels = cv2.cvtColor(cv2.resize(render(document, 0), (WIDTH, HEIGHT)), cv2.COLOR_GRAY2BGR)
        image = ((pixels.astype(np.float32) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
        outputs = self._session.run(None, {"image": image})
        scores = np.concatenate([one[0] for one in outputs[: len(STRIDES)]])
        boxes = np.concatenate(
            [
                _boxes(one[0], stride)
                for one, stride in zip(outputs[len(STRIDES) :], STRIDES, strict=True)
            ]
        )
        regions = []
        for label, name in enumerate(LABELS):
            kept = cv2.dnn.NMSBoxes(_corners_to_sizes(boxes), scores[:, label].tolist(), 0.4, 0.5)
            for index in np.asarray(kept, int).reshape(-1):
                x0, y0, x1, y1 = (boxes[index] / [WIDTH, HEIGHT, WIDTH, HEIGHT]).clip(0, 1).tolist()
                regions.append(Region(name, float(scores[index, label]), x0, y0, x1, y1))
        return Layout(sorted(regions, key=lambda one: one.y0))


def _boxes(distances: np.ndarray, stride: int) -> np.ndarray:
    """Corners from the predicted distributions of the distances to the four sides (Generalized
    Focal Loss, 2020)."""
    bins = distances.shape[1] // 4
    spread = distances.reshape(-1, bins)
    spread = np.exp(spread - spread.max(axis=1, keepdims=True))
    expected = (spread / spread.sum(axis=1, keepdims=True) * np.arange(bins)).sum(axis=1).reshape(
        -1, 4
    ) * stride
    rows, columns = -(-HEIGHT // stride), -(-WIDTH // stride)
    y, x = np.divmod(np.arange(rows * columns), columns)
    centre = np.stack([(x + 0.5), (y + 0.5), (x + 0.5), (y + 0.5)], axis=1) * stride
    corners: np.ndarray = centre + expected * np.array([-1, -1, 1, 1])
    return corners


def _corners_to_sizes(boxes: np.ndarray) -> list[list[float]]:
    return [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes.tolist()]
