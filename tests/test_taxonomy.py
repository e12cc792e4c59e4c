from pathlib import Path

import pytest
import yaml

from hydata.errors import ConfigError
from hydata.prompts import load_prompts
from hydata.taxonomy import load_taxonomy

ROOT = Path(__file__).parent.parent


def label(id: str, share: float) -> dict:
    both = {"en": id, "zh": "某"}
    return {
        "id": id,
        "name": both,
        "definition": both,
        "examples": {"en": ["e"], "zh": ["例"]},
        "target_share": share,
    }


def load(folder: Path, labels: list[dict], name: str = "colour.yaml", **extra: object):
    content = {"description": {"en": "the colour", "zh": "颜色"}, "labels": labels, **extra}
    (folder / name).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return load_taxonomy(folder)


def test_a_dimension_is_loaded_and_described(tmp_path: Path) -> None:
    taxonomy = load(tmp_path, [label("red", 0.25), label("blue", 0.75)])
    assert taxonomy.dimension("colour").ids == ("red", "blue")
    assert taxonomy.dimension("colour").target_shares() == {"red": 0.25, "blue": 0.75}
    assert taxonomy.describe("zh") == "colour (颜色):\n- red: 某\n- blue: 某"
    with pytest.raises(ConfigError, match="no dimension 'shape'"):
        taxonomy.dimension("shape")


def test_the_hash_follows_the_content_not_the_form(tmp_path: Path) -> None:
    first = load(tmp_path, [label("red", 0.5), label("blue", 0.5)]).hash
    file = tmp_path / "colour.yaml"
    file.write_text("# a comment\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_taxonomy(tmp_path).hash == first
    assert load(tmp_path, [label("red", 0.4), label("blue", 0.6)]).hash != first


@pytest.mark.parametrize(
    ("labels", "extra", "says"),
    [
        ([label("red", 0.5), label("blue", 0.4)], {}, "target_share.*sum to 0.9"),
        ([label("red", 0.5), label("red", 0.5)], {}, "appear twice"),
        ([label("Red!", 0.5), label("blue", 0.5)], {}, r"labels\.0\.id.*snake_case"),
        ([label("red", 1.0)], {}, "labels"),
        ([{**label("red", 0.5), "shade": 1}, label("blue", 0.5)], {}, r"labels\.0\.shade"),
        ([{**label("red", 0.5), "examples": {"en": ["e"]}}, label("blue", 0.5)], {}, r"examples\.zh"),
        ([label("red", 0.5), label("blue", 0.5)], {"colour": 1}, "colour"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, labels: list, extra: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)colour\.yaml: .*{says}"):
        load(tmp_path, labels, **extra)


def test_what_is_no_taxonomy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no dimensions"):
        load_taxonomy(tmp_path)
    (tmp_path / "colour.yaml").write_text("labels: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not YAML"):
        load_taxonomy(tmp_path)
    (tmp_path / "colour.yaml").unlink()
    with pytest.raises(ConfigError, match="rename it"):
        load(tmp_path, [label("red", 0.5), label("blue", 0.5)], name="My Colour.yaml")


def test_the_projects_taxonomy_has_three_dimensions_and_knows_its_prompts_families() -> None:
    taxonomy = load_taxonomy(ROOT / "taxonomy")
    assert [d.id for d in taxonomy.dimensions] == ["difficulty", "domain", "task"]
    assert 10 <= len(taxonomy.dimension("domain").labels) <= 14
    for prompt in load_prompts(ROOT / "prompts").prompts:
        assert set(prompt.header.families) <= set(taxonomy.dimension("task").ids), prompt.id
        assert set(prompt.header.domains) <= set(taxonomy.dimension("domain").ids), prompt.id
