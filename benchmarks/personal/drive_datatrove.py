"""datatrove: its formatter, which replaces e-mail and public IP addresses."""

from datatrove.pipeline.formatters import PIIFormatter
from driver import run

FORMATTER = PIIFormatter()


def replace(texts: list[str]) -> int:
    return sum(FORMATTER.format(text) != text for text in texts)


if __name__ == "__main__":
    run({"e-mail and IP": replace}, "datatrove")
