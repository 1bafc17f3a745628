"""Sub-pipelines: called, its steps run within the item; as a child, it is an item of its own, and
elements spread over runners."""

from __future__ import annotations

from typing import Any

from examples.patterns.running import example
from holdfast import child, each, pipeline, step


@step()
async def attachments(mail: str) -> list[str]:
    """The elements."""
    return mail.split("+")


@step()
async def read(attachment: str) -> int:
    """What is done with one."""
    return len(attachment)


@pipeline(version="1", key=lambda attachment: f"attachment {attachment}")
def attachment(name: str) -> int:
    """A pipeline of its own."""
    return read(name)


@step()
async def total(sizes: list[int]) -> int:
    """The end."""
    return sum(sizes)


@pipeline(version="1", key=str)
def mails(mail: str) -> int:
    """A child per attachment; cancel, deadline, correlation and trace go along."""
    return total(each(child(attachment))(attachments(mail)))


def main() -> dict[str, Any]:
    """One mail, three items beside it."""
    with example() as here:
        here.run(mails, "letter+picture+bill")
        children = here.item("letter+picture+bill")["children"]
        return {
            "result": here.result("letter+picture+bill"),
            "children": [one["state"] for one in children],
        }


if __name__ == "__main__":
    print(main())
