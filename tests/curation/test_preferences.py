"""Preference pairs: exactly those that known judgements of known samples ask for."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from hydata.curation.preferences import STAGE, PreferSettings
from hydata.recipe import table_schemas
from hydata.schema import PREFERENCES, Conversation, Message, conversations_frame
from hydata.warehouse import write_frame

SCHEMAS = table_schemas()
ASPECTS = ("accuracy", "relevance", "completeness", "usefulness", "clarity")


def answer(
    instruction: str, text: str, finish: str = "stop", system: str = "Be helpful.", sample: int = 0
) -> Conversation:
    return Conversation(
        "respond",
        (Message("system", system), Message("user", f"About {instruction}?"), Message("assistant", text)),
        parent_ids=(instruction,),
        finish_reason=finish,
        sample_index=sample,
    )


class Judged:
    """Answers, and what is said of them; ``tiers`` and ``aspects`` are those of each repeat."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict]] = {
            table: [] for table in ("rules", "critiques", "agreement", "decisions")
        }
        self.answers: list[Conversation] = []

    def add(
        self,
        answer: Conversation,
        tiers: tuple[int, ...] = (),
        aspects: int = 3,
        majority: bool | None = None,
        final: str = "dropped",
        gate: str = "kept",
        refusals: int = 0,
    ) -> str:
        self.answers.append(answer)
        id = answer.record_id
        self.rows["rules"].append({"record_id": id, "response_refusals": refusals})
        for repeat, tier in enumerate(tiers):
            scores = dict.fromkeys(ASPECTS, aspects)
            self.rows["critiques"].append({"record_id": id, "repeat": repeat, "tier": tier, **scores})
        self.rows["agreement"].append({"record_id": id, "majority": majority})
        for policy, status in (("gates.critique", gate), ("final", final)):
            self.rows["decisions"].append({"record_id": id, "policy": policy, "status": status})
        return id

    def pairs(self, folder: Path, reverse: bool = False, **settings: object) -> list[tuple[str, str, float]]:
        frames: Mapping[str, pl.DataFrame] = {
            "conversations": conversations_frame(self.answers),
            **{t: pl.DataFrame(rows, schema_overrides=SCHEMAS[t]) for t, rows in self.rows.items()},
        }
        tables = {}
        for name, frame in frames.items():
            known = frame.match_to_schema(
                SCHEMAS[name], missing_columns="insert", extra_columns="ignore", integer_cast="upcast"
            )
            halves = [known.reverse()] if reverse else [known.head(2), known.slice(2)]
            tables[name] = [folder / f"{name}-{reverse}-{i}.parquet" for i in range(len(halves))]
            for path, half in zip(tables[name], halves, strict=True):
                write_frame(path, half)
        context = SimpleNamespace(schemas=SCHEMAS)
        made = list(STAGE.run(tables, PreferSettings(**settings), context))
        assert all(frame.schema == PREFERENCES for frame in made)
        found = pl.concat([PREFERENCES.to_frame(), *made])
        assert set(found["source"]) <= {"samples"}
        return found.select("chosen_id", "rejected_id", "margin").rows()


@pytest.fixture
def judged() -> Judged:
    return Judged()


def approximately(pairs: list[tuple[str, str, float]]) -> list[tuple[str, str, object]]:
    return [(chosen, rejected, pytest.approx(margin)) for chosen, rejected, margin in pairs]


def test_the_kept_answer_is_paired_with_the_worst(tmp_path: Path, judged: Judged) -> None:
    best = judged.add(answer("p", "best"), (1,), aspects=4, final="kept")
    middle = judged.add(answer("p", "middling"), (2,), aspects=3)
    worst = judged.add(answer("p", "worst"), (3,), aspects=2)
    judged.add(answer("q", "alone"), (1,), final="kept")
    # the worst: two tiers (2/3) and two points of each aspect (2/3); the middling: one of each (1/3)
    assert judged.pairs(tmp_path) == approximately([(best, worst, 2 / 3)])
    expected = approximately(sorted([(best, worst, 2 / 3), (best, middle, 1 / 3)]))
    assert judged.pairs(tmp_path, max_pairs=5) == expected
    assert judged.pairs(tmp_path, max_pairs=5, min_margin=0.5) == approximately([(best, worst, 2 / 3)])
    assert judged.pairs(tmp_path, max_pairs=0) == []


def test_only_the_wanted_signals_count_and_those_that_both_have(tmp_path: Path, judged: Judged) -> None:
    good = judged.add(answer("p", "Seven."), (1, 2), aspects=3, majority=True, final="kept")
    bad = judged.add(answer("p", "Eight!"), (3, 3), aspects=3, majority=False)
    assert judged.pairs(tmp_path) == approximately([(good, bad, (0.5 + 0 + 1) / 3)])
    assert judged.pairs(tmp_path, signals=("agreement",)) == approximately([(good, bad, 1.0)])
    assert judged.pairs(tmp_path, signals=("tier", "tier")) == approximately([(good, bad, 0.5)])
    voteless = Judged()
    good = voteless.add(answer("p", "Seven."), (1,), majority=True, final="kept")
    bad = voteless.add(answer("p", "Eight!"), (4,), majority=None)
    assert voteless.pairs(tmp_path) == approximately([(good, bad, 0.5)])
    assert voteless.pairs(tmp_path, signals=("agreement",)) == []


def test_no_signal_may_contradict(tmp_path: Path, judged: Judged) -> None:
    judged.add(answer("p", "Seven."), (1,), aspects=4, majority=False, final="kept")
    judged.add(answer("p", "Eight!"), (4,), aspects=1, majority=True)
    assert judged.pairs(tmp_path) == []
    assert len(judged.pairs(tmp_path, signals=("tier", "critique"))) == 1


def test_what_is_broken_cut_off_or_a_refusal_is_no_half_of_a_pair(tmp_path: Path, judged: Judged) -> None:
    judged.add(answer("p", "good"), (1,), aspects=4, final="kept")
    judged.add(answer("p", "cut", finish="length"), (4,), aspects=1)
    judged.add(answer("p", "I cannot help."), (4,), aspects=1, refusals=1)
    judged.add(answer("p", "<div>"), (4,), aspects=1, gate="dropped")
    judged.add(answer("p", "good", sample=1), (4,), aspects=1)  # the same text
    judged.add(answer("p", "in a persona", system="Be a pirate."), (4,), aspects=1)  # another prompt
    judged.add(answer("other", "of another instruction"), (4,), aspects=1)
    assert judged.pairs(tmp_path) == []
    judged.add(answer("p", "bad"), (4,), aspects=1)
    assert len(judged.pairs(tmp_path, max_pairs=9)) == 1


def test_lengths_may_be_held_equal_and_decide_between_equals(tmp_path: Path, judged: Judged) -> None:
    good = judged.add(answer("p", "x" * 100), (1,), aspects=4, final="kept")
    judged.add(answer("p", "y" * 10), (4,), aspects=1)
    near = judged.add(answer("p", "z" * 120), (4,), aspects=1)
    assert judged.pairs(tmp_path) == [(good, near, 1.0)]
    assert len(judged.pairs(tmp_path, max_pairs=2)) == 2
    assert judged.pairs(tmp_path, max_pairs=2, max_length_ratio=1.5) == [(good, near, 1.0)]


def test_the_order_of_rows_and_shards_changes_nothing(tmp_path: Path, judged: Judged) -> None:
    for p in range(30):
        for i in range(4):
            tiers = ((p + i) % 4 + 1, (p * i) % 4 + 1)
            final = "kept" if i == p % 4 else "dropped"
            judged.add(
                answer(str(p), f"{i} '; {{{{ x }}}} 灯塔" * (i + 1)), tiers, (p * i) % 4 + 1, final=final
            )
    first = judged.pairs(tmp_path, max_pairs=2, min_margin=0.01)
    assert first
    assert first == judged.pairs(tmp_path, reverse=True, max_pairs=2, min_margin=0.01)
