"""presidio-analyzer: its recognizers of patterns, called one after the other without a model of language."""

from driver import run
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UsPassportRecognizer,
    UsSsnRecognizer,
)

RECOGNIZERS = [
    one()
    for one in (
        EmailRecognizer,
        PhoneRecognizer,
        IpRecognizer,
        CreditCardRecognizer,
        IbanRecognizer,
        UsSsnRecognizer,
        UsPassportRecognizer,
    )
]


def analyze(texts: list[str]) -> int:
    return sum(len(one.analyze(text, one.supported_entities, None)) for text in texts for one in RECOGNIZERS)


if __name__ == "__main__":
    run({"seven kinds": analyze}, "presidio-analyzer", "phonenumbers")
