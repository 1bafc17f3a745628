"""Arguments mean what one expects, or are refused where they are written: with file, line, the
step's name and what is allowed."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import holdfast
from holdfast import (
    Alerts,
    App,
    Batch,
    Budget,
    DefinitionError,
    Dependency,
    Keep,
    RedriveRule,
    Retry,
    StepAlerts,
    Timeout,
    branch,
    case,
    child,
    each,
    emit,
    error_class,
    first_ok,
    gather,
    on,
    pipeline,
    refine,
    review,
    route,
    step,
    wait_for,
)
from holdfast.errors import InputError
from holdfast.model.arguments import Declared, reader_of
from holdfast.model.duration import seconds
from holdfast.model.policy import Policy

NAN, INFINITY = float("nan"), float("inf")


def double(number: int) -> int:
    """A function that becomes a step."""
    return number * 2


plain: Any = step(double)


def flow(number: int) -> int:
    """A function that becomes a pipeline."""
    result: int = plain(number)
    return result


class Model:
    """A class that becomes a step."""

    def __call__(self, number: int) -> int:
        """Double."""
        return number * 2


class Batched:
    """A class that becomes a batched step."""

    def __call__(self, numbers: list[int]) -> list[int]:
        """Double each."""
        return [number * 2 for number in numbers]


def policy(**given: Any) -> Policy:
    """The policy of a step that is declared with these keywords."""
    made: Any = step(**given)(double)
    found: Policy = made.policy
    return found


def declared(**given: Any) -> Any:
    """A pipeline that is declared with these keywords."""
    return pipeline(**{"version": "1", "key": str, **given})(flow)


# -- short forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "field", "meant"),
    [
        ({"retry": 3}, "retry", Retry(attempts=3)),
        ({"timeout": "30s"}, "timeout", Timeout(ceiling="30s")),
        ({"timeout": 30}, "timeout", Timeout(ceiling=30)),
        ({"timeout": timedelta(minutes=1)}, "timeout", Timeout(ceiling=60)),
        ({"depends": "ocr"}, "depends", Dependency("ocr")),
        ({"depends": None}, "depends", None),
        ({"gpus": 1}, "gpus", 1),
    ],
)
def test_a_value_in_place_of_a_struct_is_its_first_field(
    given: dict[str, Any], field: str, meant: object
) -> None:
    assert getattr(policy(**given), field) == meant


@pytest.mark.parametrize(
    ("given", "field", "meant"),
    [
        ({"keep": "7d"}, "keep", Keep(intermediates="7d")),
        ({"keep": "forever"}, "keep", Keep()),
        ({"budget": 5}, "budget", Budget(item_usd=5)),
        ({"alerts": 10}, "alerts", Alerts(dead=10)),
        (
            {"alerts": Alerts(steps={"double": 10})},
            "alerts",
            Alerts(steps={"double": StepAlerts(dead=10)}),
        ),
        ({"search": "customer"}, "search", ("customer",)),
        ({"search": ["customer", "pages.kind"]}, "search", ("customer", "pages.kind")),
        ({"redrive": RedriveRule("double")}, "redrive", (RedriveRule("double"),)),
        ({"redrive": "double"}, "redrive", (RedriveRule("double"),)),
        ({"redrive": [RedriveRule(error="timeout")]}, "redrive", (RedriveRule(error="timeout"),)),
        ({"version": 1}, "version", "1"),
        ({"deadline": "2h"}, "deadline", 7200.0),
        ({"deadline": timedelta(hours=2)}, "deadline", 7200.0),
    ],
)
def test_short_forms_of_a_pipeline(given: dict[str, Any], field: str, meant: object) -> None:
    assert getattr(declared(**given), field) == meant


def test_batches_and_exceptions_in_short() -> None:
    batched: Any = Batched
    made: Any = step.batched(batched, batch=3)
    assert made.policy.batch == Batch(size=3)
    assert Retry(never=ValueError).never == (ValueError,)
    assert Retry(never=[ValueError, KeyError]).never == (ValueError, KeyError)


def test_decorators_without_parentheses() -> None:
    @step
    async def asked(number: int) -> int:
        return number

    @step.of
    class Asked:
        def __call__(self, number: int) -> int:
            return number

    class Space:
        @step
        @staticmethod
        def inside(number: int) -> int:
            return number

    steps: list[Any] = [asked, Asked, Space.inside]
    assert [one(1) for one in steps] == [1, 1, 1]
    assert [repr(one) for one in steps] == ["<step asked>", "<step Asked>", "<step inside>"]


def test_what_is_given_is_not_changed_by_what_its_author_does_later() -> None:
    thresholds = {"double": StepAlerts(dead=1)}
    made = declared(alerts=Alerts(steps=thresholds))
    thresholds["nothing"] = StepAlerts(dead=2)
    assert list(made.alerts.steps) == ["double"]


# -- refusals ------------------------------------------------------------------------------------

STEP_VALUES: dict[str, list[Any]] = {
    "retry": ["three", "3", 0, -1, 2.5, True, None, NAN, Retry, [3], Timeout()],
    "timeout": [
        "30",
        "30 parsecs",
        "-3s",
        0,
        -1,
        NAN,
        INFINITY,
        True,
        None,
        timedelta(0),
        Timeout,
        Retry(),
        "9" * 400 + "d",
    ],
    "name": ["a b", "1st", "a" * 101, "päth/x", "a\u202eb", 3, None, b"ocr", "a\n"],
    "effects": ["save", True, None, 1],
    "runs": ["thread", "transaction", None, str],
    "pool": ["", "a b", 3, None, "x" * 101],
    "depends": ["a b", "", 3, Dependency, ["ocr"]],
    "cache": [1, "yes", None],
    "gpus": ["1", -1, NAN, INFINITY, True, None, 1e9],
    "optional": [1, "yes", None],
    "exhausted": ["burry", True, None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in STEP_VALUES.items() for value in values]
)
def test_a_value_that_cannot_serve_is_refused_with_its_step(name: str, value: Any) -> None:
    needed = {"flag": "x"} if name == "optional" else {}
    with pytest.raises(DefinitionError) as refused:

        @typing.cast(Any, step)(**{name: value, **needed})  # type: ignore[untyped-decorator]
        def ocr(number: int) -> int:
            return number

    text = str(refused.value)
    assert (
        text.startswith("tests/model/test_arguments.py:")
        or "/tests/model/test_arguments.py:" in text
    )
    assert f"{name}=" in text
    assert "is not allowed" in text
    assert "'ocr'" in text or name == "name"
    assert len(text) < 500


PIPELINE_VALUES: dict[str, list[Any]] = {
    "version": [1.0, "", None, True, "a\nb", " 1", "x" * 101, b"1"],
    "key": [None, "id", lambda: "x", lambda a, b: a, 3],
    "deadline": [0, -1, "soon", NAN, True, timedelta(-1)],
    "name": ["a b", "1st", 3, "x" * 101, "größe"],
    "inputs": [3, "files", lambda: []],
    "keep": ["for ever", 0, None, {"intermediates": "7d"}],
    "search": [3, "a b", [3], "a.", None, ["a", None]],
    "alerts": ["many", 0, None, Alerts],
    "budget": ["5", 0, -1, NAN, INFINITY, None],
    "redrive": [3, [3], None, [RedriveRule]],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in PIPELINE_VALUES.items() for value in values],
)
def test_a_value_that_cannot_serve_is_refused_with_its_pipeline(name: str, value: Any) -> None:
    with pytest.raises(DefinitionError) as refused:

        @pipeline(**{"version": "1", "key": str, name: value})
        def claims(number: int) -> int:
            result: int = plain(number)
            return result

    text = str(refused.value)
    assert "tests/model/test_arguments.py:" in text
    assert f"{name}=" in text
    assert "'claims'" in text or name == "name"


STRUCT_VALUES: list[tuple[Callable[..., Any], dict[str, list[Any]]]] = [
    (
        Retry,
        {
            "attempts": ["3", 0, True, 1.5, None, NAN],
            "base": ["soon", 0, None, True],
            "cap": [-1],
            "never": ["x", 3, None, [ValueError, 3]],
        },
    ),
    (
        Timeout,
        {
            "ceiling": [None, 0],
            "floor": ["x"],
            "quantile": [0, 1, "0.9", True, NAN],
            "factor": [0.5, INFINITY],
            "warm_up": [0],
            "learn": [1],
        },
    ),
    (Batch, {"size": [0, "8", True, None, 1.5], "wait": [0, None]}),
    (Keep, {"intermediates": [0, "ever", None], "outputs": [True]}),
    (
        functools.partial(Dependency, "d"),
        {
            "failures": [0, "5"],
            "window": [0, None],
            "probe": [0],
            "budget": [0, -1, NAN, True],
            "reserve": [0],
            "when_open": ["never", None, True],
        },
    ),
    (
        Alerts,
        {"dead": [0, "1", True], "stuck": [0], "steps": [3, {"a": "b"}, {3: 4}, None, ["ocr"]]},
    ),
    (StepAlerts, {"dead": [0, "1"], "dead_age": ["x"]}),
    (Budget, {"item_usd": [0, "5", True, NAN], "day_usd": [INFINITY, -1]}),
    (
        RedriveRule,
        {"step": [3, None], "error": ["timout", 3, None], "after": [0, None], "times": [0, True]},
    ),
]


@pytest.mark.parametrize(
    ("struct", "name", "value"),
    [
        (struct, name, value)
        for struct, fields in STRUCT_VALUES
        for name, values in fields.items()
        for value in values
    ],
)
def test_a_value_that_cannot_serve_is_refused_in_a_struct(
    struct: Callable[..., Any], name: str, value: Any
) -> None:
    with pytest.raises(
        DefinitionError,
        match=r"test_arguments\.py:\d+: \w+ in 'test_a_value.*is not allowed: (give|say|a "
        r"duration|.* is not a dur)",
    ) as refused:
        struct(**{name: value})
    assert f"{name}=" in str(refused.value)


@pytest.mark.parametrize(
    ("call", "word", "known"),
    [
        (lambda: step(retires=3), "retires", "retry"),  # type: ignore[call-overload]
        (lambda: step.of(Model, time_out=3), "time_out", "timeout"),  # type: ignore[call-arg]
        (lambda: typing.cast(Any, step).batched(Batched, bacth=3), "bacth", "batch"),
        (lambda: declared(deadlin="2h"), "deadlin", "deadline"),
        (lambda: Retry(atempts=3), "atempts", "attempts"),  # type: ignore[call-arg]
        (lambda: Timeout(ceilling=3), "ceilling", "ceiling"),  # type: ignore[call-arg]
        (lambda: Batch(sizes=3), "sizes", "size"),  # type: ignore[call-arg]
        (lambda: Keep(intermediate="7d"), "intermediate", "intermediates"),  # type: ignore[call-arg]
        (lambda: Dependency("d", window_=3), "window_", "window"),  # type: ignore[call-arg]
        (lambda: Alerts(dead_per_our=3), "dead_per_our", "dead_per_hour"),  # type: ignore[call-arg]
        (lambda: StepAlerts(ded=3), "ded", "dead"),  # type: ignore[call-arg]
        (lambda: Budget(item_us=3), "item_us", "item_usd"),  # type: ignore[call-arg]
        (lambda: RedriveRule(eror="timeout"), "eror", "error"),  # type: ignore[call-arg]
        (lambda: each(plain, tolerat=1), "tolerat", "tolerate"),  # type: ignore[call-arg]
        (lambda: gather(plain, plain, quorom=1), "quorom", "quorum"),  # type: ignore[call-overload]
        (lambda: branch(plain, mising="wait"), "mising", "missing"),  # type: ignore[call-arg]
        (lambda: refine(plain, plain, untill=bool, max_iterations=3), "untill", "until"),  # type: ignore[call-arg]
        (lambda: review(Model, titel="x"), "titel", "title"),  # type: ignore[call-arg]
        (lambda: wait_for("a", int, timout="7d"), "timout", "timeout"),  # type: ignore[call-overload]
        (lambda: on("a", were=bool), "were", "where"),  # type: ignore[call-arg]
    ],
)
def test_an_unknown_keyword_is_refused_with_the_nearest_one(
    call: Callable[[], object], word: str, known: str
) -> None:
    with pytest.raises(
        DefinitionError, match=rf"no argument '{word}'; did you mean '{known}'\? it takes "
    ):
        call()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"ledgr": "x"}, r"no argument 'ledgr'; did you mean 'ledger'\?"),
        ({"workers": True}, "workers=True is not allowed"),
        ({"workers": -1}, "workers=-1 is not allowed"),
        ({"workers": "many"}, "workers='many' is not allowed"),
        ({"home": 3}, "home=3 is not allowed"),
        ({"price_cpu_hour": NAN}, "price_cpu_hour=nan is not allowed"),
        ({"settings": "x"}, "settings='x' is not allowed"),
        ({"ledger": "postgresql://me:hunter2@h/d", "wrong": 1}, "no argument 'wrong'"),
    ],
)
def test_keywords_of_app(given: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=rf"test_arguments\.py:\d+: App\(\).*{what}") as refused:
        App(**given)
    assert "hunter2" not in str(refused.value)


def test_a_setting_from_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_WORKERS", "many")
    with pytest.raises(InputError, match="^HOLDFAST_WORKERS='many' is not allowed"):
        App()


# -- what can be a step --------------------------------------------------------------------------


def generator(number: int) -> Any:
    """Has yield."""
    yield number


async def async_generator(number: int) -> Any:
    """Has yield, too."""
    yield number


def sharing(number: int, seen: list[int] = []) -> int:  # noqa: B006
    """Has one list for all items."""
    return number


def anything(*args: Any) -> int:
    """Takes anything."""
    return 1


async def real(number: int) -> int:
    """Is async."""
    return number


@functools.wraps(real)
def wrapper(number: int) -> Any:
    """A plain def around an async def."""
    return real(number)


class Method:
    """Has one."""

    def method(self, number: int) -> int:
        """Double."""
        return number * 2

    @classmethod
    def of_class(cls, number: int) -> int:
        """Double."""
        return number * 2


NO_STEPS: list[tuple[Any, str]] = [
    (functools.partial(double, 3), "write def"),
    (len, "built-in function"),
    (str.upper, "write def upper"),
    (int, "is a class: write step.of"),
    (Model, "is a class: write step.of"),
    (Model(), "is not a function"),
    (generator, "has yield: return a list"),
    (async_generator, "has yield: return a list"),
    (lambda number: number, "a lambda has no name"),
    (plain, "is a step already"),
    (each(plain), "not a function of yours"),
    (Method.method, "is a method"),
    (Method().method, "is a method of an object"),
    (Method.of_class, "is a method of an object"),
    (sharing, "parameter 'seen' has a list as default"),
    (anything, "takes \\*args"),
    (wrapper, "make the wrapper async"),
    (3, "is not a function"),
    ("ocr", "give keywords by name"),
]


@pytest.mark.parametrize(
    ("body", "why"), NO_STEPS, ids=[str(number) for number in range(len(NO_STEPS))]
)
def test_what_cannot_be_a_step_is_refused_with_the_remedy(body: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=rf"test_arguments\.py:\d+: step.*{why}"):
        step(body)
    with pytest.raises(DefinitionError, match=r"test_arguments\.py:\d+: step"):
        step()(body)


def test_a_lambda_with_a_name_and_a_wrapped_function_are_steps() -> None:
    @functools.wraps(double)
    def counted(*args: Any, **kwargs: Any) -> Any:
        return double(*args, **kwargs)

    declare: Any = step
    named = declare(name="half")(lambda number: number / 2)
    wrapped = declare(counted)
    assert (named(4), named.name) == (2, "half")
    assert (wrapped(2), wrapped.name, list(wrapped.parameters)) == (4, "double", ["number"])


class Needy:
    """Cannot be built without arguments."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, number: int) -> int:
        """Double."""
        return number


class Silent:
    """Cannot be called."""


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Model(), "write step.of\\(Model\\), the class"),
        (double, "is a function"),
        (Needy, "built without arguments"),
        (Silent, "needs a method __call__"),
        (3, "is no class"),
    ],
)
def test_what_cannot_be_a_model_is_refused(model: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=rf"test_arguments\.py:\d+: step '.*{why}"):
        step.of(model)


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (plain, "needs version="),
        (real, "is async"),
        (generator, "has yield"),
        (Model, "is a class"),
        (lambda: 1, "one parameter"),
        (len, "built-in function"),
        (plain, "write def name\\(payload\\)"),
    ],
    ids=["bare", "async", "generator", "class", "parameters", "built-in", "step"],
)
def test_what_cannot_be_a_pipeline_is_refused(fn: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=rf"test_arguments\.py:\d+: pipeline '.*{why}"):
        pipeline(fn) if "needs" in why else pipeline(version="1", key=str)(fn)  # type: ignore[call-arg]


BRANCHES: list[Any] = [len, Model, 3, None, real, generator, "ocr"]


@pytest.mark.parametrize("wrong", BRANCHES, ids=[str(number) for number in range(len(BRANCHES))])
def test_a_combinator_takes_steps(wrong: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: each(wrong),
        lambda: first_ok(plain, wrong),
        lambda: gather(plain, wrong),
        lambda: branch(wrong, missing="wait"),
        lambda: case("a", wrong),
        lambda: refine(wrong, plain, until=bool, max_iterations=2),
        lambda: refine(plain, wrong, until=bool, max_iterations=2),
    ]
    for call in calls:
        with pytest.raises(
            DefinitionError,
            match=r"test_arguments\.py:\d+: \w+\(\) (in|for) .* is not allowed: give a step, "
            r"a pipeline",
        ):
            call()
    with pytest.raises(DefinitionError, match="takes a pipeline"):
        child(wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: each(plain, tolerate=-1),
        lambda: each(plain, tolerate=1.5),
        lambda: each(plain, tolerate=NAN),
        lambda: each(plain, tolerate=True),
        lambda: gather(plain, plain, quorum=0),
        lambda: gather(plain, plain, quorum=True),
        lambda: gather(plain, plain, deadline=0),
        lambda: gather(plain, plain, late="cancle"),  # type: ignore[call-overload]
        lambda: branch(plain, missing="never"),  # type: ignore[arg-type]
        lambda: refine(plain, plain, until=bool, max_iterations=0),
        lambda: refine(plain, plain, until=True, max_iterations=2),  # type: ignore[arg-type]
        lambda: refine(plain, plain, until=bool, max_iterations=2, exhausted="burry"),  # type: ignore[arg-type]
        lambda: refine(plain, plain, until=real, max_iterations=2),  # type: ignore[arg-type]
        lambda: review(int),
        lambda: review(Model, by=3),  # type: ignore[arg-type]
        lambda: review(Model, four_eyes=1),  # type: ignore[arg-type]
        lambda: emit("a b"),
        lambda: emit(3),  # type: ignore[arg-type]
        lambda: wait_for("a", int, timeout=0),
        lambda: wait_for("a", int, timeout="7d", flag="no paper"),
        lambda: on("a", where="b"),  # type: ignore[arg-type]
        lambda: case(NAN, plain),
        lambda: case([1], plain),
        lambda: first_ok(plain, branch(plain, missing="wait")),
    ],
)
def test_arguments_of_combinators(call: Callable[[], Any]) -> None:
    with pytest.raises(
        DefinitionError, match=r"test_arguments\.py:\d+: \w+\(\) (in|for) '.* is not allowed: "
    ):
        call()


def test_a_function_with_other_parameters_is_refused_when_it_is_traced() -> None:
    def two(first: int, second: int) -> int:
        result: int = plain(first)
        return result

    def wrong(number: int) -> int:
        return first_ok(two, plain)(number)

    with pytest.raises(
        DefinitionError,
        match="first_ok in pipeline 'wrong': two is called with 1 argument: missing",
    ):
        pipeline(version="1", key=str)(wrong)


def test_two_steps_of_one_name_in_a_pipeline_are_refused() -> None:
    @step(name="double")
    def other(number: int) -> int:
        return number

    def both(number: int) -> int:
        return other(plain(plain(number)))

    with pytest.raises(
        DefinitionError,
        match=r"pipeline 'both': two different steps are called 'double'.*@step\(name='…'\)",
    ):
        pipeline(version="1", key=str)(both)


# -- the structure -------------------------------------------------------------------------------


def test_every_field_of_every_struct_and_every_keyword_is_checked() -> None:
    for struct in Declared.__subclasses__():
        assert set(reader_of(struct).kinds) == set(struct.__struct_fields__), struct
    for call in (
        step.__call__,
        step.of,
        step.batched,
        step.transactional,
        pipeline,
        each,
        gather,
        branch,
        refine,
        review,
        wait_for,
        emit,
        on,
        case,
        first_ok,
    ):
        keywords = [
            one
            for one in inspect.signature(call).parameters.values()
            if one.kind is one.KEYWORD_ONLY
        ]
        assert all(one.annotation is not inspect.Parameter.empty for one in keywords), call


def test_signatures_name_every_keyword() -> None:
    fields = {one.name for one in msgspec.structs.fields(Policy)} - {"batch"}
    assert fields | {"name"} <= set(inspect.signature(step).parameters)
    assert fields | {"name", "batch"} <= set(inspect.signature(step.batched).parameters)
    assert {"home", "ledger", "workers"} <= set(inspect.signature(App).parameters)
    assert "retry: " in str(inspect.signature(step.of))


def test_public_structs_that_users_write_are_checked() -> None:
    for name in (
        "Alerts",
        "Batch",
        "Budget",
        "Dependency",
        "Keep",
        "RedriveRule",
        "Retry",
        "StepAlerts",
        "Timeout",
    ):
        assert issubclass(getattr(holdfast, name), Declared), name


def test_a_hostile_value_is_shown_in_few_words() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    values: list[Any] = [Hostile(), "x" * 10_000, "\x1b[31m", "a\u202eb", [[]] * 10_000]
    for value in values:
        with pytest.raises(DefinitionError) as refused:
            step(retry=typing.cast(int, value))
        assert len(str(refused.value)) < 400
        assert str(refused.value).isprintable()


@pytest.mark.parametrize("text", ["1.5h", "50ms", " 60s ", "7 d", "0.5s"])
def test_durations(text: str) -> None:
    assert seconds(text) > 0
    assert seconds(1) == 1.0
    with pytest.raises(DefinitionError):
        seconds(True)


def test_the_place_is_that_of_a_module_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "flow_of_mine.py"
    file.write_text(
        "from holdfast import step\n\n\n@step(\n    timeout='5s',\n    retry='three',\n)\ndef "
        "ocr(x: int) -> int:\n    return x\n"
    )
    code = compile(file.read_text(), str(file), "exec")
    with pytest.raises(
        DefinitionError,
        match=rf"{file}:4: step 'ocr': retry='three' is not allowed: give a number of "
        r"attempts \(retry=3\)",
    ):
        exec(code, {"__name__": "flow_of_mine"})  # noqa: S102


FLOW = """
from holdfast import *
from pydantic import SecretStr

@step
def ocr(text: str) -> str: return text

@step
def key(text: str) -> SecretStr: return SecretStr(text)

@pipeline(version=1, key=str)
def flow(text: {kind}) -> object:
    return {body}
"""


@pytest.mark.parametrize(
    ("kind", "body", "line", "said"),
    [
        ("int", "ocr(text)", 13, "the payload of 'flow' gives int, but step 'ocr' takes str"),
        ("str", "each(ocr)(text)", 13, "but each(ocr) takes a list"),
        ("str", "'constant'", 11, "pipeline 'flow' calls no step"),
        ("str", "key(text)", 11, "step 'key': SecretStr cannot be kept"),
        ("str", "ocr([text, text])", 13, "a list of steps' outputs"),
        ("str", "ocr(text.upper)", 13, "'upper' is a method or property"),
        ("str", "ocr(text + 'x')", 13, "an operator over a step's output"),
    ],
)
def test_whatever_is_refused_while_a_pipeline_is_traced_has_a_place(
    kind: str, body: str, line: int, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "flow_of_mine.py"
    file.write_text(FLOW.format(kind=kind, body=body))
    with pytest.raises(DefinitionError) as refused:
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": "flow_of_mine"})  # noqa: S102
    assert str(refused.value).startswith(f"{file}:{line}: ")
    assert said in str(refused.value)


async def _later(error: Exception) -> str:
    return "bug"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((5, "bug"), "exception=5 is not allowed: give an exception class, or its name"),
        ((int, "bug"), "exception=int is not allowed"),
        (
            (ValueError, "transent"),
            "rule='transent' is not allowed: say .*; did you mean 'transient'",
        ),
        ((ValueError, None), "rule=None is not allowed"),
        ((ValueError, lambda: "bug"), "it is called with 1 argument, and takes"),
        ((ValueError, _later), "a plain def, not async"),
        ((ValueError,), "missing a required argument: 'rule'"),
    ],
)
def test_a_rule_for_classes_is_checked_where_it_is_written(given: Any, said: str) -> None:
    with pytest.raises(
        DefinitionError, match=rf"test_arguments\.py:\d+: error_class\(\).*: .*{said}"
    ):
        error_class(*given)


class One(typing.NamedTuple):
    """A payload that can be iterated over."""

    id: str


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda app, flow: app.submit_many(flow, "invoice.pdf"),
            r"submit_many\(\).*payloads='invoice.pdf' is not allowed: .* one alone is \[payload\]",
        ),
        (lambda app, flow: app.submit_many(flow, {"id": "a"}), "one alone is"),
        (lambda app, flow: app.submit_many(flow, One("a")), "one alone is"),
        (lambda app, flow: app.submit_many(flow, 5), "one alone is"),
        (
            lambda app, flow: app.submit_many("flow", ["a"]),
            "pipeline='flow' is not allowed: give a pipeline",
        ),
        (
            lambda app, flow: app.submit_many(flow, ["a"], refused="keeps"),
            "refused='keeps' is not allowed: say .*; did you mean 'keep'",
        ),
        (
            lambda app, flow: app.submit_many(flow, ["a"], prioritys=1),
            "there is no argument 'prioritys'; did you mean 'priority'. it takes pipeline",
        ),
        (
            lambda app, flow: app.submit_many(flow, ["a"], priority="high"),
            "priority='high' is not allowed",
        ),
        (lambda app, flow: app.run(5), "pipelines=5 is not allowed"),
        (lambda app, flow: app.run([flow, "other"]), "'other' is none"),
        (lambda app, flow: app.register("flow"), "pipelines='flow' is not allowed"),
    ],
)
def test_what_app_is_given_is_checked_at_once(
    call: Callable[[App, Any], Any], said: str, tmp_path: Path
) -> None:
    @step(runs="threads")
    def ocr(text: str) -> str:
        return text

    def flow(text: str) -> str:
        return ocr(text)

    with pytest.raises(DefinitionError, match=rf"test_arguments\.py:\d+: App\..*{said}"):
        call(App(home=tmp_path / "home", ledger=""), pipeline(version="1", key=str)(flow))
    assert not (tmp_path / "home").exists()


def test_route_takes_cases() -> None:
    with pytest.raises(DefinitionError, match=r"test_arguments\.py:\d+: route\(\)"):
        route(plain)
    with pytest.raises(DefinitionError, match="two cases have the same key"):
        route(case("a", plain), case("a", plain))
