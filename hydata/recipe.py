"""A recipe: which files, which settings; and the plan, the ordered list of what a run does.

A recipe is a TOML file. Its keys name the other files (paths are relative to the recipe), its tables
hold each stage's settings. ``plan`` is the whole pipeline in reading order; the command line and the
Prefect flows run exactly this list. A node reads the current shards of earlier nodes; the same
stage may stand at several nodes, so that gates judge instructions before money is spent on
them and the final policy judges the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from hydata import ingest
from hydata.curation import (
    classifier,
    decisions,
    dedup,
    education,
    language,
    mix,
    preferences,
    privacy,
    quality,
    rules,
    toxicity,
)
from hydata.curation.classifier import ClassifySettings, TrainSettings
from hydata.curation.contamination import certificate
from hydata.curation.contamination import judge as contamination
from hydata.curation.contamination.items import Benchmark
from hydata.curation.contamination.judge import ContaminationSettings
from hydata.curation.dedup import DuplicatesSettings, signatures
from hydata.curation.dedup.signatures import Scope, SignaturesSettings
from hydata.curation.language import LanguageSettings
from hydata.curation.mix import MixSettings
from hydata.curation.preferences import PreferSettings
from hydata.curation.rules import RulesSettings
from hydata.curation.scores import ScoreSettings
from hydata.curation.semantic import embeddings
from hydata.curation.semantic import judge as semantic
from hydata.curation.semantic.judge import SemanticSettings
from hydata.errors import ConfigError
from hydata.ingest import IngestSettings
from hydata.models import Budget, Models, ModelsConfig, load_models
from hydata.models.router import check_labels
from hydata.policy import ONE_ANSWER, check_measures, load_policy
from hydata.privacy import PrivacySettings
from hydata.prompts import load_prompts
from hydata.settings import read_toml
from hydata.stage import Context, GlobalStage, MapStage, Settings, Stage
from hydata.synthesis import (
    agreement,
    bandit,
    critique,
    evolve,
    extract,
    follow_up,
    generate,
    label,
    novelty,
    respond,
    self_instruct,
    weigh,
)
from hydata.synthesis import generalisations as pairs
from hydata.synthesis import generalise as general
from hydata.synthesis.agreement import AgreementSettings
from hydata.synthesis.bandit import Arm, BanditSettings
from hydata.synthesis.critique import CritiqueSettings
from hydata.synthesis.evolve import EvolveSettings
from hydata.synthesis.extract import ExtractSettings
from hydata.synthesis.follow_up import FollowUpSettings
from hydata.synthesis.generalisations import GeneralisationsSettings
from hydata.synthesis.generalise import GeneraliseSettings
from hydata.synthesis.generate import GenerateSettings
from hydata.synthesis.label import LabelSettings
from hydata.synthesis.respond import RespondSettings
from hydata.synthesis.self_instruct import SelfInstructSettings
from hydata.synthesis.weigh import WeighSettings
from hydata.taxonomy import load_taxonomy

GATES = ("evolve", "respond", "critique")


class Recipe(Settings):
    """A checked recipe. ``name`` names its head in the warehouse; ``seed`` makes every draw anew;
    ``file`` is where it was read from."""

    name: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    seed: int = 0
    file: Path = Path("recipe.toml")
    models: Path = Path("models.toml")
    policy: Path = Path("policy.toml")
    prompts: Path = Path("prompts")
    taxonomy: Path = Path("taxonomy")
    ingest: IngestSettings = IngestSettings()
    extract: ExtractSettings = ExtractSettings()
    generate: GenerateSettings = GenerateSettings()
    label: LabelSettings = LabelSettings()
    classifier: TrainSettings = TrainSettings()
    evolve: EvolveSettings = EvolveSettings()
    self_instruct: SelfInstructSettings = SelfInstructSettings()
    generalise: GeneraliseSettings = GeneraliseSettings()
    respond: RespondSettings = RespondSettings()
    follow_up: FollowUpSettings = FollowUpSettings()
    critique: CritiqueSettings = CritiqueSettings()
    agreement: AgreementSettings = AgreementSettings()
    weigh: WeighSettings = WeighSettings()
    rules: RulesSettings = RulesSettings()
    language: LanguageSettings = LanguageSettings()
    toxicity: ScoreSettings = ScoreSettings()
    quality: ScoreSettings = ScoreSettings()
    education: ScoreSettings = ScoreSettings()
    duplicates: DuplicatesSettings = DuplicatesSettings()
    semantic: SemanticSettings = SemanticSettings()
    contamination: ContaminationSettings = ContaminationSettings()
    privacy: PrivacySettings = PrivacySettings()
    prefer: PreferSettings = PreferSettings()
    bandit: BanditSettings = BanditSettings()
    mix: MixSettings = MixSettings()
    budget: Budget = Budget()

    def beside(self, path: Path) -> Path:
        """A path of the recipe, relative to the recipe's own folder."""
        return self.file.parent / path

    @property
    def has_bandit(self) -> bool:
        """Whether a bandit chooses among the prompts of some step."""
        return self.generate.bandit or self.evolve.bandit

    def models_config(self) -> ModelsConfig:
        """The checked models file."""
        return load_models(self.beside(self.models))


def load_recipe(path: Path, seeds: tuple[str, ...] = ()) -> Recipe:
    """The recipe at ``path``; ``seeds`` are further files and folders to ingest.

    Paths under ``[ingest]`` are relative to the working directory, like those of the command line.

    Raises:
        ConfigError: names the file, the key and the remedy.
    """
    recipe = read_toml(path, Recipe)
    for seed in (*recipe.ingest.paths, *seeds):
        if not Path(seed).exists():
            raise ConfigError(
                f"{seed}: no such file or folder; check [ingest] of {path} and the command line"
            )
    paths = recipe.ingest.model_copy(update={"paths": (*recipe.ingest.paths, *seeds)})
    in_meaning, judged = recipe.semantic, recipe.critique
    if in_meaning.vectors is not None:
        in_meaning = in_meaning.model_copy(update={"vectors": path.parent / in_meaning.vectors})
    if judged.calibration is not None:
        judged = judged.model_copy(update={"calibration": path.parent / judged.calibration})
    scorers = {
        name: settings.model_copy(update={"model": path.parent / settings.model})
        for name in ("toxicity", "quality", "education")
        if (settings := getattr(recipe, name)).model is not None
    }
    found = {
        "file": path,
        "ingest": paths,
        "semantic": in_meaning,
        "critique": judged,
        "contamination": recipe.contamination.beside(path.parent),
        **scorers,
    }
    return recipe.model_copy(update=found)


@dataclass(frozen=True)
class Node:
    """One entry of the plan. ``stage`` is None for ingest, which reads files.

    ``reads`` maps a table to the nodes whose shards of it are the input. What a node ``remembers`` is
    input as well but asks for no new work by itself: its own or a later node's earlier output. A
    node that ``appends`` keeps its earlier results current beside the new ones.
    """

    id: str
    stage: Stage | None
    settings: Settings
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remembers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    appends: bool = False


def plan(recipe: Recipe) -> tuple[Node, ...]:
    """The pipeline: every node after those it reads."""
    read = ("ingest",)
    generated = ("extract", "generate")
    evolved = ("evolve", "self_instruct", "generalise")
    turns = range(recipe.follow_up.turns + 1)
    answered = tuple(_turn("respond", turn) for turn in turns)
    finals = tuple(_turn("decide/final", turn) for turn in turns)
    critiques = tuple(_turn("critique", turn) for turn in turns)
    return (
        Node("ingest", None, recipe.ingest),
        *_measures(recipe, "read", read, ("instruction", recipe.duplicates.responses)),
        *_if(
            bool(recipe.contamination.benchmarks),
            Node("contamination/seeds", contamination.STAGE, recipe.contamination, {"documents": read}),
        ),
        # step 1: instructions from seeds, with answers where these are in them; what they are, what is wrong
        # with them, which are new
        Node("extract", extract.STAGE, recipe.extract, {"documents": read}),
        Node("generate", generate.STAGE, recipe.generate, {"documents": read}),
        *_measures(recipe, "generated", generated),
        Node("label", label.STAGE, recipe.label, {"conversations": (*generated, *read)}),
        Node(
            "train",
            classifier.TRAIN,
            recipe.classifier,
            {"labels": ("label",), "conversations": (*generated, *read)},
        ),
        _classify("read", read),
        _classify("generated", generated),
        # existing sets hold instructions without an answer as well: they take the road from here
        *_gate(recipe, "evolve", "instructions", {"read": read, "generated": generated}),
        # step 2: clearer, harder, and more of what is rare
        Node("evolve", evolve.STAGE, recipe.evolve, {"admitted": ("admit/evolve",)}),
        Node(
            "novelty",
            novelty.STAGE,
            novelty.NoveltySettings(),
            {"admitted": ("admit/evolve",)},
            {"admitted": ("admit/respond",)},
        ),
        Node("self_instruct", self_instruct.STAGE, recipe.self_instruct, {"admitted": ("admit/evolve",)}),
        Node(
            "aim",
            general.AIM,
            recipe.generalise.aim,
            {"admitted": ("admit/evolve",), "conversations": (*read, *generated)},
            {"aims": ("aim",), "conversations": ("generalise",), "rejects": ("generalise",)},
            appends=True,
        ),
        Node("generalise", general.STAGE, recipe.generalise.drawing, {"aims": ("aim",)}),
        *_measures(recipe, "evolved", evolved),
        _classify("evolved", evolved),
        *_gate(recipe, "respond", "instructions", {"read": read, "generated": generated, "evolved": evolved}),
        Node(
            "generalisations",
            pairs.STAGE,
            GeneralisationsSettings(),
            {"admitted": ("admit/evolve", "admit/respond")},
        ),
        # steps 3 and 4, of the instructions and then of the user's next turns in what was kept
        *_answered(recipe, 0, {"read": read}),
        *(node for turn in turns[1:] for node in (*_follow_up(recipe, turn), *_answered(recipe, turn, {}))),
        # after the decision, which must not see these pairs: it reads those of datasets
        Node(
            "prefer",
            preferences.STAGE,
            recipe.prefer,
            {
                "conversations": answered,
                "rules": tuple(_turn("rules/answered", turn) for turn in turns),
                "agreement": tuple(_turn("agreement", turn) for turn in turns),
                "critiques": critiques,
                "decisions": (*(_turn("decide/critique", turn) for turn in turns), *finals),
            },
        ),
        *_if(
            bool(recipe.contamination.benchmarks),
            Node(
                "benchmarks",
                certificate.STAGE,
                recipe.contamination,
                {
                    "contamination": (
                        *(f"contamination/{part}" for part in ("seeds", "read", "generated", "evolved")),
                        *(f"contamination/followed/{turn}" for turn in turns[1:]),
                        *(_turn("contamination/answered", turn) for turn in turns),
                    )
                },
            ),
        ),
        Node(
            "mix",
            mix.STAGE,
            recipe.mix,
            {
                "conversations": tuple(
                    f"{step}/{turn}" for turn in turns[1:] for step in ("follow_up", "respond")
                ),
                "decisions": finals,
                "labels": ("label", "classify/read", *(_turn("classify/answered", turn) for turn in turns)),
                "critiques": critiques,
            },
        ),
    )


def _if(wanted: bool, node: Node) -> tuple[Node, ...]:
    return (node,) if wanted else ()


def _measures(
    recipe: Recipe, what: str, of: tuple[str, ...], scopes: tuple[Scope, ...] = ("instruction",)
) -> tuple[Node, ...]:
    return (
        *(
            Node(
                f"signatures/{what}/{scope}",
                signatures.STAGE,
                SignaturesSettings(scope=scope),
                {"conversations": of},
            )
            for scope in dict.fromkeys(scopes)
        ),
        *_if(
            recipe.semantic.enabled,
            Node(
                f"embeddings/{what}",
                embeddings.stage(recipe.semantic.embeddings),
                recipe.semantic.embeddings,
                {"conversations": of},
            ),
        ),
        Node(f"rules/{what}", rules.STAGE, recipe.rules, {"conversations": of}),
        Node(f"language/{what}", language.STAGE, recipe.language, {"conversations": of}),
        Node(f"toxicity/{what}", toxicity.STAGE, recipe.toxicity, {"conversations": of}),
        Node(f"quality/{what}", quality.STAGE, recipe.quality, {"conversations": of}),
        Node(f"education/{what}", education.STAGE, recipe.education, {"conversations": of}),
        *_if(
            bool(recipe.contamination.benchmarks),
            Node(f"contamination/{what}", contamination.STAGE, recipe.contamination, {"conversations": of}),
        ),
        Node(f"privacy/{what}", privacy.STAGE, recipe.privacy.finding, {"conversations": of}),
    )


def _turn(name: str, turn: int) -> str:
    """A node's id in a round of follow-ups; round 0 is that of the instructions."""
    return f"{name}/{turn}" if turn else name


def _follow_up(recipe: Recipe, turn: int) -> Iterator[Node]:
    """The user's next turn in conversations that the round before has kept: instructions like any other."""
    before, made, part = turn - 1, (f"follow_up/{turn}",), f"followed/{turn}"
    answered = {_turn("answered", before): (_turn("respond", before),)}
    judged, best, admit = (
        _measured(recipe, answered),
        f"decide/continued/{turn}",
        f"admit/continued/{turn}",
    )
    yield Node(
        best,
        decisions.DECIDE,
        decisions.DecideSettings(section="final", of="responses", one_answer=True),
        _finally(recipe, judged, before),
    )
    yield Node(
        admit,
        decisions.ADMIT,
        decisions.AdmitSettings(section=ONE_ANSWER, shard_rows=recipe.ingest.shard_rows),
        {
            "conversations": judged["conversations"],
            "decisions": (best,),
            "language": judged["language"],
            "labels": judged["labels"],
        },
        {"admitted": (admit,)},
        appends=True,
    )
    yield Node(made[0], follow_up.STAGE, recipe.follow_up, {"admitted": (admit,)})
    yield from _measures(recipe, part, made)
    yield _classify(part, made)
    yield from _gate(recipe, _turn("respond", turn), "instructions", {part: made})


def _answered(recipe: Recipe, turn: int, others: Mapping[str, tuple[str, ...]]) -> Iterator[Node]:
    """Answers of several models, several samples each, judged together with the complete conversations of
    ``others``."""
    respond_node, part = _turn("respond", turn), _turn("answered", turn)
    parts = {**others, part: (respond_node,)}
    gate = _turn("critique", turn)
    yield Node(respond_node, respond.STAGE, recipe.respond, {"admitted": (f"admit/{respond_node}",)})
    yield from _measures(recipe, part, parts[part], (recipe.duplicates.responses,))
    yield _classify(part, parts[part])
    yield Node(_turn("agreement", turn), agreement.STAGE, recipe.agreement, {"conversations": parts[part]})
    yield Node(_turn("weigh", turn), weigh.STAGE, recipe.weigh, {"agreement": (_turn("agreement", turn),)})
    yield from _gate(recipe, gate, "responses", parts)
    yield Node(gate, critique.STAGE, recipe.critique, {"admitted": (f"admit/{gate}",)})
    yield Node(
        _turn("decide/final", turn),
        decisions.DECIDE,
        decisions.DecideSettings(section="final", of="responses"),
        _finally(recipe, _measured(recipe, parts), turn),
    )


def _finally(
    recipe: Recipe, measured: Mapping[str, tuple[str, ...]], turn: int
) -> dict[str, tuple[str, ...]]:
    """What the last decision of a round reads: beside what is ``measured`` what its critic says and, where it
    continues others, what became of those."""
    gate = _turn("critique", turn)
    asked = (f"follow_up/{turn}",) if turn else ()
    return {
        **measured,
        "conversations": (*measured["conversations"], *asked),
        "decisions": (_turn("decide/final", turn - 1),) if turn else (),
        "duplicates": (f"duplicates/{gate}",),
        "semantic": (f"semantic/{gate}",) if recipe.semantic.enabled else (),
        "critiques": (gate,),
    }


def _classify(what: str, of: tuple[str, ...]) -> Node:
    return Node(f"classify/{what}", classifier.STAGE, ClassifySettings(), {"conversations": of})


def _measured(recipe: Recipe, parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The conversations of several parts and what is measured of them, by table; and of the seeds."""
    voted = [part.removeprefix("answered") for part in parts if part.startswith("answered")]
    return {
        "conversations": tuple(node for nodes in parts.values() for node in nodes),
        "rules": tuple(f"rules/{part}" for part in parts),
        "language": tuple(f"language/{part}" for part in parts),
        **{
            table: tuple(f"{table}/{part}" for part in parts)
            for table in ("toxicity", "quality", "education")
        },
        "privacy": tuple(f"privacy/{part}" for part in parts),
        "labels": ("label", *(f"classify/{part}" for part in parts)),
        "agreement": tuple(f"agreement{turn}" for turn in voted),
        "weighted": tuple(f"weigh{turn}" for turn in voted),
        "preferences": ("ingest",),
        "contamination": tuple(f"contamination/{part}" for part in ("seeds", *parts))
        if recipe.contamination.benchmarks
        else (),
    }


def _gate(
    recipe: Recipe, name: str, of: Literal["instructions", "responses"], parts: Mapping[str, tuple[str, ...]]
) -> tuple[Node, ...]:
    """What the policy's section lets through, duplicates aside; duplicates among that, and semantic ones
    among what these leave; the section with both; the newly admitted records. ``name`` is the section's,
    with the round perhaps."""
    gate = name.split("/")[0]
    section = f"gates.{gate}"
    measured = _measured(recipe, parts)
    scope: Scope = "instruction" if of == "instructions" else recipe.duplicates.responses
    return (
        Node(
            f"screen/{name}",
            decisions.DECIDE,
            decisions.DecideSettings(section=section, of=of, without=("duplicates", "semantic")),
            measured,
        ),
        Node(
            f"duplicates/{name}",
            dedup.stage(f"duplicates_{gate}"),
            recipe.duplicates,
            {
                "signatures": tuple(f"signatures/{part}/{scope}" for part in parts),
                "decisions": (f"screen/{name}",),
            },
            {"admitted": (f"admit/{name}",)},
        ),
        *_if(
            recipe.semantic.enabled,
            Node(
                f"semantic/{name}",
                semantic.stage(f"semantic_{gate}"),
                recipe.semantic,
                {
                    "embeddings": tuple(f"embeddings/{part}" for part in parts),
                    "decisions": (f"screen/{name}",),
                    "duplicates": (f"duplicates/{name}",),
                    "labels": measured["labels"] if recipe.semantic.thresholds else (),
                },
                {"admitted": (f"admit/{name}",)},
            ),
        ),
        Node(
            f"decide/{name}",
            decisions.DECIDE,
            decisions.DecideSettings(section=section, of=of),
            {
                **measured,
                "duplicates": (f"duplicates/{name}",),
                "semantic": (f"semantic/{name}",) if recipe.semantic.enabled else (),
            },
        ),
        Node(
            f"admit/{name}",
            decisions.ADMIT,
            decisions.AdmitSettings(section=section, shard_rows=recipe.ingest.shard_rows),
            {
                "conversations": measured["conversations"],
                "decisions": (f"decide/{name}",),
                "language": measured["language"],
                "labels": measured["labels"],
            },
            {"admitted": (f"admit/{name}",)},
            appends=True,
        ),
    )


def table_schemas() -> dict[str, pl.Schema]:
    """The columns of every table of the warehouse."""
    schemas = dict(ingest.TABLES)
    some = ContaminationSettings(benchmarks={"some": Benchmark(file=Path("some"))})
    for node in plan(Recipe(contamination=some)):
        if isinstance(node.stage, MapStage | GlobalStage):
            schemas.setdefault(node.stage.table, node.stage.columns)
    return schemas


def planned(recipe: Recipe, until: str | None = None) -> tuple[Node, ...]:
    """The plan up to and with the node ``until``, or the first one of the stage of that name.

    Raises:
        ConfigError: there is none; names those there are.
    """
    nodes = plan(recipe)
    if until is None:
        return nodes
    for end, node in enumerate(nodes, 1):
        if until in (node.id, node.id.split("/")[0]):
            return nodes[:end]
    raise ConfigError(
        f"--until {until}: no node of {recipe.file}; give one of {', '.join(n.id for n in nodes)}"
    )


def check_names(nodes: Iterable[Node], context: Context) -> None:
    """Check every name that the settings of these nodes and their prompts use, before any work starts.

    Raises:
        ConfigError: names the file, the key, the value and what there is.
    """
    for node in nodes:
        if node.stage is not None:
            node.stage.check(node.settings, context)


def load_context(recipe: Recipe, models: Models, arms: Mapping[str, Arm] | None = None) -> Context:
    """Everything the stages use, loaded and checked; ``arms`` is what a bandit knows. Names that one stage
    alone understands (manners, operators, targets) are checked by ``check_names``.

    Raises:
        ConfigError: a prompt, the taxonomy or the policy is wrong.
    """
    taxonomy = load_taxonomy(recipe.beside(recipe.taxonomy))
    labels = {dimension.id: dimension.ids for dimension in taxonomy.dimensions}
    check_labels(models.config, {"language": None, **labels})
    policy_file = recipe.beside(recipe.policy)
    policy = load_policy(policy_file, GATES)
    schemas = table_schemas()
    check_measures(policy, policy_file, schemas, [d.id for d in taxonomy.dimensions])
    recipe.semantic.check_labels(recipe.file, labels)
    prompts = load_prompts(recipe.beside(recipe.prompts))
    prompts.check_labels(labels)
    return Context(
        seed=recipe.seed,
        prompts=prompts,
        taxonomy=taxonomy,
        policy=policy,
        models=models,
        artefacts={},
        schemas=schemas,
        weights=bandit.weights(prompts, arms or {}, recipe.bandit.floor),
        recipe=recipe.file,
    )
