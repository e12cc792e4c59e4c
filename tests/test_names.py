"""Wrong names of a recipe, its prompts and its models are found before any work; nothing else is demanded."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import ROOT

from hydata.errors import ConfigError
from hydata.forecast import forecast
from hydata.models.upkeep import stats
from hydata.recipe import load_recipe, plan, planned
from hydata.run import run_recipe
from hydata.session import open_session
from hydata.warehouse import JOURNAL

Edit = Callable[[Path], object]
STRANGE = "---\nvariables: [mood]\n---\n{{ mood }}"
NO_CODE = (
    "coding = 0, industry = 0, text_generation = 0, mathematical_reasoning = 0, safety = 0, tool_use = 0"
)


@pytest.fixture
def own(project: Path) -> Path:
    """The project with prompts of its own, which a test may change."""
    shutil.copytree(ROOT / "prompts", project / "prompts")
    recipe = (project / "recipe.toml").read_text().replace(f"{ROOT}/prompts", "prompts")
    (project / "recipe.toml").write_text(recipe)
    return project


def setting(table: str, line: str) -> Edit:
    """Set a key of the recipe's table, which may be there."""

    def edit(project: Path) -> None:
        file, key = project / "recipe.toml", line.partition(" ")[0]
        head, _, rest = file.read_text().partition(f"[{table}]\n")
        body, end, others = rest.partition("\n[")
        body = re.sub(rf"^{key} = .*\n?", "", body, flags=re.MULTILINE)
        file.write_text(f"{head}\n[{table}]\n{line}\n{body}{end}{others}")

    return edit


def strange(*places: str) -> Edit:
    """Put a prompt with a variable that no step knows there."""
    return lambda project: [(project / "prompts" / f"{p}.en.md").write_text(STRANGE) for p in places]


def without(*places: str) -> Edit:
    """Take prompts away."""
    return lambda project: [shutil.rmtree(project / "prompts" / place) for place in places]


def both(*edits: Edit) -> Edit:
    return lambda project: [edit(project) for edit in edits]


def other_critic(project: Path) -> None:
    general = {"cutoffs": [3.5, 2.5, 1.5], "labels": 9}
    critics = [{"identity": "someone else", "prompts": "p", "families": {"general": general}}]
    (project / "calibration.json").write_text(json.dumps({"critics": critics}))
    setting("critique", 'calibration = "calibration.json"')(project)


def only_coding_critics(project: Path) -> None:
    for prompt in (project / "prompts" / "critique").glob("*.md"):
        if not prompt.name.startswith("coding."):
            prompt.unlink()


def route(when: str) -> Edit:
    def edit(project: Path) -> None:
        file = project / "models.toml"
        text = f"\n[[roles.responder.routes]]\nwhen = {when}\nmodels = {{ first = 1 }}\n"
        file.write_text(file.read_text() + text)

    return edit


MANNERS = 'manners = [{{ when = {{ {when} }}, manner = "{manner}" }}]'
TARGET = "targets = [{{ count = 1 }}, {{ {label}, count = 1 }}]"

WRONG: dict[str, tuple[Edit, str]] = {
    "manner": (
        setting("respond", 'manner = "operatic"'),
        r"recipe\.toml: respond\.manner: no manner 'operatic' in .*respond; there are brief, direct",
    ),
    "manner by label": (
        setting("respond", MANNERS.format(when='task = "coding"', manner="operatic")),
        r"recipe\.toml: respond\.manners\[0\]\.manner: no manner 'operatic' in .*; there are brief",
    ),
    "label of a manner": (
        setting("respond", MANNERS.format(when='task = "cooking"', manner="brief")),
        r"recipe\.toml: respond\.manners\[0\]\.when\.task: no label 'cooking'; there are mathematical",
    ),
    "dimension of a manner": (
        setting("respond", MANNERS.format(when='mood = "good"', manner="brief")),
        r"recipe\.toml: respond\.manners\[0\]\.when: no dimension 'mood'; there are language, d",
    ),
    "manner with the reference": (
        both(
            setting("respond", "use_reference = true"),
            lambda p: [f.unlink() for f in (p / "prompts/respond").glob("with_reference.*")],
        ),
        r"recipe\.toml: respond\.use_reference: no manner 'with_reference'",
    ),
    "variable of a manner": (strange("respond/brief"), r"brief\.en\.md: variables \['mood'\] are not prov"),
    "personas": (
        both(setting("respond", "personas = 0.5"), without("system")),
        r"prompts/system: no prompts",
    ),
    "continuation": (
        both(setting("respond", "continue_truncated = 1"), without("continue")),
        r"prompts/continue: no prompt in 'en'; add .* or set respond\.continue_truncated = 0 in .*recipe",
    ),
    "operators of evolve": (
        setting("evolve", 'operators = ["breadth", "widen"]'),
        r"recipe\.toml: evolve\.operators: no prompts named \['widen'\] in .*evolve; there are breadth, cl",
    ),
    "weights of evolve": (
        setting("evolve", "weights = { widen = 2 }"),
        r"recipe\.toml: evolve\.weights: no prompts named \['widen'\] in .*; there are breadth, cl",
    ),
    "variable of evolve": (strange("evolve/new"), r"evolve/new\.en\.md: variables \['mood'\]"),
    "operators of follow_up": (
        setting("follow_up", 'operators = ["insult"]'),
        r"recipe\.toml: follow_up\.operators: no prompts named \['insult'\] in .*follow_up; there are",
    ),
    "variable of follow_up": (strange("follow_up/new"), r"follow_up/new\.en\.md: variables \['mood'\]"),
    "domain of a target": (
        setting("generalise", TARGET.format(label='domain = "cooking"')),
        r'recipe\.toml: generalise\.targets\[1\]: domain = "cooking" cannot be aimed at; give \* or one of',
    ),
    "language of a target": (
        setting("generalise", TARGET.format(label='language = "de"')),
        r'recipe\.toml: generalise\.targets\[1\]: language = "de" .* give \* or one of en, zh',
    ),
    "variable of generalise": (
        both(setting("generalise", "targets = [{ count = 1 }]"), strange("generalise/new")),
        r"generalise/new\.en\.md: variables \['mood'\]",
    ),
    "variable of self_instruct": (strange("self_instruct/new"), r"new\.en\.md: variables \['mood'\]"),
    "variable of label": (strange("label/new"), r"label/new\.en\.md: variables \['mood'\]"),
    "variable of extract": (
        both(setting("extract", "share = 0.5"), strange("extract/new")),
        r"extract/new\.en\.md: variables \['mood'\]",
    ),
    "variable of generate": (strange("generate/new"), r"generate/new\.en\.md: variables \['mood'\]"),
    "family of a weight": (
        setting("generate", "weights.family = { cooking = 2 }"),
        r"recipe\.toml: generate\.weights\.family: \['cooking'\] are not in the taxonomy; use mathematical",
    ),
    "weights all zero": (
        setting("generate", "weights.complexity = { simple = 0, moderate = 0, hard = 0 }"),
        r"recipe\.toml: generate\.weights = .*'hard': 0\.0.*: no prompt for documents of kind 'web' in 'en'",
    ),
    "weights all zero for a kind": (
        setting("generate", f"weights.family = {{ {NO_CODE} }}"),
        r"generate\.weights = .*'coding': 0\.0.* of kind 'code' in 'en' is left; .* families \(coding, ind",
    ),
    "variable of critique": (strange("critique/new"), r"critique/new\.en\.md: variables \['mood'\]"),
    "critics of one family": (only_coding_critics, r"prompts/critique: no prompt without `families`"),
    "calibration": (
        setting("critique", 'calibration = "found.json"'),
        r"recipe\.toml: critique\.calibration: .*found\.json: no calibration there",
    ),
    "calibration of another critic": (
        other_critic,
        r"recipe\.toml: critique\.calibration: .*calibration\.json: of \['someone else'\], none of which",
    ),
    "label of a route": (
        route('{ task = "cooking" }'),
        r"models\.toml: roles\.responder\.routes\[0\]\.when\.task: no label 'cooking'; there are math",
    ),
    "threshold of semantic": (
        setting("semantic", 'thresholds = { "domain.cooking" = 0.9 }'),
        r"recipe\.toml: semantic\.thresholds: no label 'domain\.cooking'; there are difficulty\.",
    ),
}


@pytest.mark.parametrize(("edit", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("start", [run_recipe, forecast])
def test_a_wrong_name_is_found_before_any_work(own: Path, start, edit: Edit, said: str) -> None:
    edit(own)
    root = own / "w"
    recipe = load_recipe(own / "recipe.toml", (str(own / "seeds"),))
    with pytest.raises(ConfigError, match=said):
        asyncio.run(start(root, recipe))
    assert untouched(root)


def untouched(root: Path) -> bool:
    """Whether nothing but the lock is there: no shard, no head, and no journal, where every reply is put
    before it is used."""
    return {path.name for path in root.rglob("*")} <= {".lock"}


def asked(root: Path) -> int:
    """Of how many purposes the journal holds replies."""
    if not (root / JOURNAL).exists():
        return 0
    return len(stats(root / JOURNAL).groups)


def opened(project: Path, until: str | None = None) -> None:
    async def main() -> None:
        async with open_session(project / "w", load_recipe(project / "recipe.toml"), until=until):
            pass

    asyncio.run(main())


BEHIND: list[tuple[str, Edit]] = [
    ("ingest", setting("generate", "weights.family = { cooking = 2 }")),
    ("ingest", setting("semantic", 'enabled = true\nvectors = "nowhere"\nthreshold = 0.8')),
    ("generate", setting("evolve", 'operators = ["widen"]')),
    ("respond", setting("follow_up", 'operators = ["insult"]')),
    ("respond", setting("critique", 'calibration = "found.json"')),
    ("evolve", strange("self_instruct/new", "respond/brief", "critique/new")),
]


@pytest.mark.parametrize(("until", "edit"), BEHIND)
def test_names_behind_the_last_node_are_not_looked_at(own: Path, until: str, edit: Edit) -> None:
    edit(own)
    opened(own, until)
    with pytest.raises(ConfigError):
        opened(own)


def test_a_part_that_is_off_needs_nothing(own: Path) -> None:
    setting("self_instruct", "count = 0")(own)
    setting("follow_up", 'turns = 0\noperators = ["insult"]')(own)
    setting("respond", "samples = 1")(own)
    strange("self_instruct/new", "follow_up/new", "generalise/new", "extract/new", "continue/new")(own)
    opened(own)


ROLES = re.compile(r"\[roles\.(\w+)\]\nmodels = .*\n")


def keep_roles(project: Path, *kept: str) -> None:
    file = project / "models.toml"
    file.write_text(ROLES.sub(lambda found: found[0] if found[1] in kept else "", file.read_text()))


def test_a_recipe_that_only_curates_needs_neither_roles_nor_prompts_of_synthesis(own: Path) -> None:
    keep_roles(own, "labeller", "critic")
    without("generate", "evolve", "self_instruct", "follow_up", "generalise")(own)
    turns = (
        "Why is the sea salty, and the rivers are not?",
        "Rivers carry salts; only water leaves the sea.",
    )
    messages = [{"role": r, "content": c} for r, c in zip(("user", "assistant"), turns, strict=True)]
    (own / "set.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    recipe = load_recipe(own / "recipe.toml", (str(own / "set.jsonl"),))
    session = asyncio.run(run_recipe(own / "w", recipe))
    assert sum(s.rows["critiques"] for s in session.head.nodes["critique"].shards) == 1
    ended = asyncio.run(run_recipe(own / "w", recipe, until="ingest"))
    assert ended.head.nodes == session.head.nodes  # what is behind the end stays current


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda p: keep_roles(p, "generator", "labeller", "evolver", "responder"),
            "no model for .* 'critic'",
        ),
        (
            lambda p: keep_roles(p, "generator", "labeller", "critic", "responder"),
            "no model for .* 'evolver'",
        ),
        (without("follow_up"), "prompts/follow_up: no prompts"),
        (without("critique"), "prompts/critique: no prompts"),
    ],
)
def test_what_a_road_needs_is_missed_before_its_first_call(own: Path, edit: Edit, said: str) -> None:
    edit(own)
    recipe = load_recipe(own / "recipe.toml", (str(own / "seeds" / "books"),))
    with pytest.raises(ConfigError, match=said):
        asyncio.run(run_recipe(own / "w", recipe))
    assert not asked(own / "w")
    session = asyncio.run(run_recipe(own / "w", recipe, until="generate"))
    assert session.stats.calls


def test_a_run_may_end_at_every_node_of_its_plan(own: Path) -> None:
    setting("follow_up", "turns = 2")(own)
    recipe = load_recipe(own / "recipe.toml")
    nodes = plan(recipe)
    for end, node in enumerate(nodes, 1):
        assert [n.id for n in planned(recipe, node.id)] == [n.id for n in nodes[:end]]
    assert planned(recipe, "classify")[-1].id == "classify/read"
    with pytest.raises(ConfigError, match=r"--until follow_up/3: .*recipe\.toml; .*ingest, .*follow_up/2, "):
        planned(recipe, "follow_up/3")
