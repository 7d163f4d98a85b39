"""Text sets: what the interpreter carries, files in their true layouts written here, refusal of what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from models_core.data import (
    corpora,
    hugging_face,
    king_james,
    local_text,
    spam_assassin,
    stdlib_prose,
    stdlib_text,
    udhr,
)
from models_core.data._dataset import DataInvalid
from models_core.errors import SpecInvalid

KEY = b"0123456789abcdef"
MESSAGE = """From someone@lists.example  Thu Aug 22 12:36:23 2002
From: Ada Lovelace <Ada@Engine.example>
To: babbage@engine.example
Cc: "Byron, Lord" <lord@poet.example>
Subject: A note by Ada
Content-Type: text/plain; charset=us-ascii

Dear Babbage, Ada here. See http://engine.example/notes?user=ada or write to
menabrea@turin.example or call +44 20 7946 0000. Lord Byron sends 42 regards.
Ada Lovelace
"""


def test_the_interpreter_carries_source_and_prose() -> None:
    source, prose = stdlib_text.documents(), stdlib_prose.documents()
    assert len(source) > 300
    assert {"json", "asyncio"} <= {document.group for document in source}
    assert any("def loads" in document.text for document in source if document.group == "json")
    assert len(prose) > 50
    assert any("compound statement" in document.text for document in prose)
    assert [document.name for document in prose] == sorted(document.name for document in prose)


def test_a_bible_is_cut_into_chapters_by_book(tmp_path: Path) -> None:
    (tmp_path / "kjv.txt").write_text("Ge1:1 In the beginning.\nGe1:2 And the earth.\n1Sm3:1 And the child.\n")
    with pytest.raises(DataInvalid, match="the recorded one is cd45f0c9"):
        king_james.documents(tmp_path)
    chapters = king_james.documents(tmp_path, verify=False)
    assert [(chapter.name, chapter.group) for chapter in chapters] == [("Ge 1", "Ge"), ("1Sm 3", "1Sm")]
    assert chapters[0].text == "In the beginning.\nAnd the earth.\n"
    (tmp_path / "kjv.txt").write_text("Ge1:1 In the beginning.\nnonsense\n")
    with pytest.raises(DataInvalid, match="Line 2"):
        king_james.documents(tmp_path, verify=False)


def mail(folder: Path, content: bytes, name: str = "00001") -> Path:
    (folder / "easy-ham-1").mkdir(exist_ok=True)
    (folder / "easy-ham-1" / f"{name}.txt").write_bytes(content)
    return folder


def test_names_and_addresses_of_mail_are_hashed(tmp_path: Path) -> None:
    (document,) = spam_assassin.documents(mail(tmp_path, MESSAGE.encode()), key=KEY)
    for secret in ("Ada", "ada", "Lovelace", "Byron", "example", "7946", "Subject"):
        assert secret not in document.text
    assert "sends 42 regards" in document.text
    assert document.text.count("<name") >= 3
    assert len(document.group) == 12
    (again,) = spam_assassin.documents(tmp_path, key=KEY)
    assert again == document
    (other,) = spam_assassin.documents(tmp_path)
    assert other.group != document.group


def test_an_author_is_one_group_however_the_address_is_written(tmp_path: Path) -> None:
    mail(tmp_path, MESSAGE.encode())
    mail(tmp_path, MESSAGE.replace("Ada@Engine", "ada@engine").encode(), "00002")
    mail(tmp_path, MESSAGE.replace("Ada@Engine", "augusta@engine").encode(), "00003")
    groups = [document.group for document in spam_assassin.documents(tmp_path, key=KEY)]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"Content-Type: text/plain; charset=no-such\n\nbody \xe9",
        b"From: <<<@@>>>\n\nbody",
        b"Content-Type: multipart/mixed\n\nx",
    ],
)
def test_strange_mail_does_not_break_the_reader(tmp_path: Path, content: bytes) -> None:
    assert len(spam_assassin.documents(mail(tmp_path, content), key=KEY)) <= 1


def test_a_folder_without_mail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no messages"):
        spam_assassin.documents(tmp_path)


def test_declarations_by_language(tmp_path: Path) -> None:
    page = "<html><head><title>T</title></head><body><h1>All &amp; one</h1><p>Are  born\n free</p></body></html>"
    for code in ("eng", "fra"):
        (tmp_path / f"{code}.html").write_text(page)
    assert [document.group for document in udhr.documents(tmp_path)] == ["eng", "fra"]
    (document,) = udhr.documents(tmp_path, languages=("fra",))
    assert document.text == "All & one\nAre born free\n"
    with pytest.raises(DataInvalid, match="no declaration in deu"):
        udhr.documents(tmp_path, languages=("fra", "deu"))
    (tmp_path / "eng.html").write_bytes(b"\xff<p>")
    with pytest.raises(DataInvalid, match=r"eng\.html is not UTF-8"):
        udhr.documents(tmp_path)


def test_files_of_three_formats(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plain")
    (tmp_path / "b.jsonl").write_text('{"text": "one", "who": "x"}\n{"text": "two", "who": "y"}\n')
    pyarrow.parquet.write_table(pyarrow.table({"text": ["three"], "who": ["z"]}), tmp_path / "c.parquet")
    (tmp_path / "ignored.bin").write_bytes(b"\xff")
    found = local_text.documents(".", folder=tmp_path, group_field="who")
    assert [(document.group, document.text) for document in found] == [
        ("a.txt", "plain"),
        ("x", "one"),
        ("y", "two"),
        ("z", "three"),
    ]
    assert len(local_text.documents("b.jsonl", folder=tmp_path)) == 2


def test_a_path_never_leaves_the_data_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    for path in ("../secret.txt", str(tmp_path / "secret.txt"), "link.txt"):
        with pytest.raises(DataInvalid, match="not below"):
            local_text.documents(path, folder=root)
    with pytest.raises(DataInvalid, match="no text"):
        local_text.documents(".", folder=root)
    with pytest.raises(DataInvalid, match="There is no nowhere"):
        local_text.documents("nowhere", folder=root)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", b"\xff", r"a\.txt is not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"text"', r"Line 2 of a\.jsonl is not JSON"),
        ("a.jsonl", b'{"other": "x"}\n', "Row 1 of"),
        ("a.jsonl", b"[1]\n", "Row 1 of"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "Line 1"),
        ("a.parquet", b"PAR1" + bytes(20) + b"PAR1", "cannot be read as Parquet"),
        ("a.parquet", b"", "cannot be read as Parquet"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataInvalid, match=complaint):
        local_text.documents(name, folder=tmp_path)


def test_a_parquet_file_without_the_column_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"other": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(DataInvalid, match="no column text"):
        local_text.documents("a.parquet", folder=tmp_path)


def test_the_hub_needs_its_library() -> None:
    with pytest.raises(DataInvalid, match=r"not installed|could not be read"):
        hugging_face.documents("some/set", revision="0" * 40, most=1)


def test_every_choice_of_text_reads_its_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_DATA_DIR", str(tmp_path))
    for kind in ("spam_assassin", "udhr", "local_text"):
        (tmp_path / kind).mkdir()
    mail(tmp_path / "spam_assassin", MESSAGE.encode())
    (tmp_path / "udhr" / "eng.html").write_text("<p>All</p>")
    (tmp_path / "local_text" / "a.txt").write_text("plain")
    choices = [
        corpora.StdlibSource(),
        corpora.StdlibProse(),
        corpora.SpamAssassin(),
        corpora.Udhr(languages=("eng",)),
        corpora.LocalText(path="a.txt"),
    ]
    for choice in choices:
        assert corpora.documents(choice)
    with pytest.raises(DataInvalid, match="king_james"):
        corpora.documents(corpora.KingJames())
    with pytest.raises(SpecInvalid):
        corpora.HuggingFace.parse({"kind": "hugging_face", "name": "../x y", "revision": "main"})
    assert json.dumps(corpora.Udhr().model_dump(mode="json"))
