"""EPUB: the chapters of a book in reading order. Nothing is unpacked to disk.

A zip is hostile by what it says of itself, so its sizes are checked before a member is opened, and
again while it is read.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from lxml import etree

from hydata.seeds.io import decode_html
from hydata.seeds.source import BadInput, Limits, Source


@dataclass(frozen=True)
class Epub:
    """What the package file says. ``chapters`` are the members of the spine."""

    title: str | None
    language: str | None
    licence: str | None
    published: str | None
    chapters: tuple[str, ...]


def open_epub(source: Source, limits: Limits) -> zipfile.ZipFile:
    """The archive, its directory checked. Raises BadZipFile, BadInput("decompression_bomb")."""
    archive = zipfile.ZipFile(source.path)
    members = archive.infolist()
    total = sum(m.file_size for m in members)
    packed = max(source.path.stat().st_size, 1)
    complaint = None
    if len(members) > limits.archive_members:
        complaint = f"{len(members)} members"
    elif total > limits.archive_bytes:
        complaint = f"unpacks to {total} bytes"
    elif total > limits.expansion_from_bytes and total > limits.expansion * packed:
        complaint = f"unpacks to {total // packed} times its size"
    if complaint:
        archive.close()
        raise BadInput("decompression_bomb", complaint)
    return archive


def read_member(archive: zipfile.ZipFile, name: str, limits: Limits) -> bytes:
    """One member as bytes. Raises BadInput if it is missing, too large, or grows beyond what it says."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BadInput("broken_archive", f"no member {name}") from None
    if info.file_size > limits.document_bytes:
        raise BadInput("too_large", f"{name}: {info.file_size} bytes")
    if info.flag_bits & 1:
        raise BadInput("encrypted", name)
    with archive.open(info) as stream:
        data = stream.read(limits.document_bytes + 1)
    if len(data) > limits.document_bytes:
        raise BadInput("too_large", f"{name}: over {limits.document_bytes} bytes")
    return data


def package(archive: zipfile.ZipFile, limits: Limits) -> Epub:
    """Metadata and reading order, from the package file that ``META-INF/container.xml`` names."""
    container = _xml(read_member(archive, "META-INF/container.xml", limits))
    path = next(iter(container.xpath("//*[local-name()='rootfile']/@full-path")), None)
    if path is None:
        raise BadInput("broken_archive", "META-INF/container.xml names no package file")
    tree = _xml(read_member(archive, str(path), limits))
    folder = posixpath.dirname(str(path))

    def metadata(name: str) -> str | None:
        found = tree.xpath(f"//*[local-name()='metadata']/*[local-name()='{name}']/text()")
        return " ".join(str(found[0]).split()) or None if found else None

    items = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        for item in tree.xpath("//*[local-name()='manifest']/*[local-name()='item']")
        if "html" in item.get("media-type", "") and "nav" not in item.get("properties", "").split()
    }
    spine = tree.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref")
    language = (metadata("language") or "").lower().split("-")[0]
    return Epub(
        title=metadata("title"),
        language=language if len(language) == 2 and language.isalpha() else None,
        licence=metadata("rights"),
        published=metadata("date"),
        chapters=tuple(items[str(name)] for name in spine if str(name) in items),
    )


def chapters(archive: zipfile.ZipFile, book: Epub, limits: Limits) -> Iterator[str | BadInput]:
    """The chapters' HTML; in place of one that cannot be read stands the BadInput."""
    for name in book.chapters:
        try:
            yield decode_html(read_member(archive, name, limits))
        except BadInput as bad:
            yield bad
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
            yield BadInput("broken_archive", f"{name}: {error}")


def _xml(data: bytes) -> etree._Element:
    """A small XML file; entities are not expanded, nothing is fetched."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True
    )
    root = etree.fromstring(data, parser)
    if root is None:
        raise BadInput("broken_archive", "not XML")
    return root
