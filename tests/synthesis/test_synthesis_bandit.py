"""The bandit: what is worth more gets more, nobody gets nothing, and nothing moves while a run goes on."""

import asyncio
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from projects import ROOT, run_project
from seedlings import instruction

from hydata.errors import WarehouseError
from hydata.models import StandinEndpoint, one_model, open_models
from hydata.policy import Policy, Section
from hydata.privacy import PrivacySettings
from hydata.prompts import load_prompts
from hydata.recipe import load_recipe
from hydata.schema import conversations_frame
from hydata.session import open_session
from hydata.stage import Context, fingerprint
from hydata.synthesis import evolve, generate
from hydata.synthesis.bandit import Arm, best, freeze, hand_on, weights
from hydata.synthesis.drafts import fraction, pick, pick_weighted, weighted_place
from hydata.synthesis.generate import GenerateSettings
from hydata.taxonomy import load_taxonomy
from hydata.warehouse import Head, NodeState

PROMPTS = load_prompts(ROOT / "prompts")
CLARITY, FORMAT, DEEPENING = (
    PROMPTS.find("evolve", "en", name=name)[0].id for name in ("clarity", "format", "deepening")
)


def test_a_weighted_choice_keeps_its_shares_and_is_pick_when_all_weigh_the_same() -> None:
    assert all(pick_weighted("abc", (2, 2, 2), i) == pick("abc", i) for i in range(2000))
    counts = Counter(pick_weighted("ab", (3, 1), i) for i in range(4000))
    assert 2850 < counts["a"] < 3150


def test_a_weighted_order_is_the_plain_one_when_all_weigh_the_same() -> None:
    for i in range(200):
        plain = sorted("abcd", key=lambda o: fraction(i, o))
        assert plain == sorted("abcd", key=lambda o: weighted_place(1.0, i, o))
    heavy = {"a": 3.0, "b": 1.0}
    firsts = Counter(min("ab", key=lambda o: weighted_place(heavy[o], i, o)) for i in range(4000))
    assert 2850 < firsts["a"] < 3150


def test_the_better_and_the_cheaper_arm_wins_by_as_much_as_is_known() -> None:
    assert best([Arm(), Arm()]) == [0.5, 0.5]
    few, many = best([Arm(5, 3, 500), Arm(5, 2, 500)]), best([Arm(500, 300, 50_000), Arm(500, 200, 50_000)])
    assert 0.55 < few[0] < 0.9
    assert many[0] > 0.99
    cheap = best([Arm(500, 250, 25_000), Arm(500, 250, 50_000)])
    assert cheap[0] > 0.99
    assert best([Arm(5, 3, 500), Arm(5, 2, 500)]) == few
    # a new prompt beside a poor one is tried, and does not take over
    assert 0.1 < best([Arm(400, 20, 40_000), Arm()])[1] < 0.6


def test_the_floor_holds_and_groups_do_not_compete() -> None:
    arms = {CLARITY: Arm(1000, 900, 1000), FORMAT: Arm(1000, 1, 100_000), DEEPENING: Arm(1000, 1, 10**6)}
    found = weights(PROMPTS, arms, floor=0.1)
    rivals = [p.id for p in PROMPTS.find("evolve", "en") if p.header.style == "clarity"]
    assert found[FORMAT] / len(rivals) == pytest.approx(0.1, abs=1e-3)
    assert sum(found[id] for id in rivals) == pytest.approx(len(rivals), abs=1e-2)
    harder = [p for p in PROMPTS.find("evolve", "en") if p.header.style == "difficulty"]
    for_all = [p.id for p in harder if not p.header.families]
    assert found[DEEPENING] != 1
    assert sum(found[id] for id in for_all) == pytest.approx(len(for_all), abs=1e-2)
    # who has no rival, as breadth and what is for code alone, keeps what it has
    assert {found[p.id] for p in harder if p.header.families} == {1.0}
    assert {found[p.id] for p in PROMPTS.find("evolve", "en", name="breadth")} == {1.0}
    assert {found[p.id] for p in PROMPTS.find("evolve", "zh")} == {1.0}
    assert weights(PROMPTS, {}, floor=0.1) == {}
    assert set(weights(PROMPTS, arms, floor=1.0).values()) == {1.0}
    assert min(weights(PROMPTS, arms, floor=1e-9).values()) > 0


@pytest.mark.parametrize("per_document", [1, 3])
def test_the_families_of_every_document_stay_while_the_better_prompt_of_a_family_gains(
    per_document: int,
) -> None:
    """All prompts for safety fail, one of the three for coding alone is better than its rivals."""
    prompts = PROMPTS.find("generate", "en", "code")
    coding = [p for p in prompts if p.header.families == ("coding",)]
    arms = {
        p.id: Arm(200, 0 if "safety" in p.header.families else 150 if p is coding[1] else 20, 20_000)
        for p in prompts
    }
    settings = GenerateSettings(bandit=True, per_document=per_document)
    unlearnt = context(SimpleNamespace(privacy=PrivacySettings()))
    learnt = replace(unlearnt, weights=weights(PROMPTS, arms, 0.05))
    before, after = Counter(), Counter()
    for i in range(800):
        row = {"document_id": str(i), "language": "en", "kind": "code", "text": "x = 1"}
        row |= {"title": None, "programming_language": None}
        first, then = (
            [wish.prompt for wish in generate._wishes(row, settings, c)] for c in (unlearnt, learnt)
        )
        assert [p.header.families for p in first] == [p.header.families for p in then]
        assert len({p.id for p in then}) == per_document
        before.update(p.id for p in first)
        after.update(p.id for p in then)
    assert after[coding[1].id] > 1.5 * before[coding[1].id]
    assert 0 < after[coding[0].id] < before[coding[0].id]
    alone = [p.id for p in prompts if p not in coding]
    assert [after[id] for id in alone] == [before[id] for id in alone]


def context(models: object, **arms: Arm) -> Context:
    given = {CLARITY: arms.get("clarity", Arm()), FORMAT: arms.get("format", Arm())} if arms else {}
    return Context(
        1,
        PROMPTS,
        load_taxonomy(ROOT / "taxonomy"),
        Policy(final=Section()),
        models,
        {},
        weights=weights(PROMPTS, given, 0.02),
    )


def test_another_yield_is_another_identity_and_other_choices(tmp_path: Path) -> None:
    frame = conversations_frame(
        instruction(f"How does lighthouse number {i} warn ships of rocks?") for i in range(60)
    )
    on, off = evolve.EvolveSettings(share=1, bandit=True), evolve.EvolveSettings(share=1)

    async def main() -> None:
        async with open_models(
            one_model(StandinEndpoint(engine="standin"), "m"), tmp_path / "j.sqlite"
        ) as models:
            plain, same, other = (
                context(models),
                context(models, clarity=Arm(9, 9, 9), format=Arm(9, 0, 9)),
                context(models, clarity=Arm(9, 0, 9), format=Arm(9, 9, 9)),
            )
            prints = {fingerprint(evolve.STAGE, on, c) for c in (plain, same, other)}
            assert len(prints) == 3
            assert fingerprint(evolve.STAGE, on, replace(same)) in prints
            # without the bandit the yields concern nothing
            assert len({fingerprint(evolve.STAGE, off, c) for c in (plain, same, other)}) == 1

            async def operators(c: Context, settings: evolve.EvolveSettings) -> Counter:
                out = await evolve.STAGE.run(frame, settings, c)
                asked = [*out.rows["prompt_id"], *out.rejects["prompt_id"]]
                return Counter(re.split("[/.]", prompt)[1] for prompt in asked if prompt)

            assert await operators(plain, on) == await operators(plain, off) == await operators(same, off)
            favoured = await operators(same, on)
            assert favoured == await operators(same, on)
            assert favoured["clarity"] > 3 * favoured["format"]
            turned = await operators(other, on)
            assert turned["format"] > 3 * turned["clarity"]
            # each style has as much to do as before
            styles = {p.name: p.header.style for p in PROMPTS.find("evolve")}

            def by_style(counts: Counter) -> Counter:
                return Counter(
                    {s: sum(n for o, n in counts.items() if styles[o] == s) for s in styles.values()}
                )

            plainly = by_style(await operators(plain, on))
            assert plainly == by_style(favoured) == by_style(turned)

    asyncio.run(main())


@pytest.fixture
def bandits(project: Path) -> Path:
    """The demo's recipe on the stand-in, with a bandit in both steps."""
    recipe = project / "recipe.toml"
    text = recipe.read_text().replace("[generate]", "[generate]\nbandit = true")
    recipe.write_text(text.replace("[evolve]", "[evolve]\nbandit = true"))
    return project


def identity(folder: Path, root: Path) -> dict[str, str]:
    async def main() -> dict[str, str]:
        async with open_session(root, load_recipe(folder / "recipe.toml")) as session:
            return {n.id: session.identity(n) for n in session.nodes if n.id in ("generate", "evolve")}

    return asyncio.run(main())


def test_weights_are_frozen_from_the_last_decision_to_the_next(bandits: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    frozen = root / "heads" / "demo.bandit"
    untaught = identity(bandits, root)
    run_project(bandits, root, "seeds/qa", until="generate")
    assert not frozen.exists()
    assert identity(bandits, root) == untaught
    run_project(bandits, root, "seeds/qa")
    taught = identity(bandits, root)
    assert taught["generate"] != untaught["generate"]
    kept = frozen.read_bytes()
    arms = json.loads(kept)["arms"]
    assert all(arm["useful"] <= arm["attempts"] for arm in arms.values())
    assert sum(arm["useful"] for arm in arms.values()) > 0
    # a run that stops half way has spent tokens and made records; the next one goes on as it began
    stopped = run_project(bandits, root, "seeds/qa", "seeds/web", until="generate")
    assert stopped.stats.calls > 0
    assert frozen.read_bytes() == kept
    assert identity(bandits, root) == taught
    resumed = run_project(bandits, root, "seeds/qa", "seeds/web")
    assert not [p for p in resumed.ledger.groups if p[0].startswith("generate/")]
    # and the one after that has learned
    assert identity(bandits, root) != taught
    again = run_project(bandits, root, "seeds/qa", "seeds/web")
    assert again.stats.calls == 0


def test_a_forecasts_sample_is_asked_with_the_frozen_arms(tmp_path: Path) -> None:
    sample = Head("demo", {"ingest": NodeState("f")})
    assert freeze(tmp_path, sample, {}) == {}
    hand_on(tmp_path, sample, {CLARITY: Arm(3, 1, 40)})
    assert freeze(tmp_path, sample, {}) == {CLARITY: Arm(3, 1, 40)}


def test_a_damaged_file_is_named(bandits: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    (root / "heads").mkdir(parents=True)
    (root / "heads" / "demo.bandit").write_text("{}")
    with pytest.raises(WarehouseError, match=r"demo\.bandit: damaged"):
        identity(bandits, root)
