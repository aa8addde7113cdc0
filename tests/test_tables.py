"""Tables in files: what separates values, what names columns, and where what is wrong stands."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from graphlrp.errors import InputError
from graphlrp.tables import Rows, is_table, read_table

X = np.array([[1.5, -2.0, 3e-3], [0.0, 1.0, 12.25]])


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("t.csv", "a,b,c\n1.5,-2,3e-3\n0,1,12.25\n", ["a", "b", "c"]),
        ("t.csv", "1.5,-2,3e-3\n0,1,12.25", None),
        ("t.csv", "0,1,2\n1.5,-2,3e-3\n0,1,12.25", None),
        ("t.tsv", "a\tb\tc\n1.5\t-2\t3e-3\n\n0\t1\t12.25\n\n", ["a", "b", "c"]),
        ("t.CSV", "1,5;-2;0,003\n0;1;12,25\n", None),
        ("t.csv", "a;b;c\n1.5;-2.0;0.003\n0;1;12.25\n", ["a", "b", "c"]),
        ("t.csv", '\ufeff"a, in cm", b ,"c\nd"\r\n 1.5 ,-2,"3e-3"\r\nFalse,true,12.25\r\n', ["a, in cm", "b", "c\nd"]),
        ("t.csv.gz", "a,b,c\n1.5,-2,3e-3\n0,1,12.25\n", ["a", "b", "c"]),
    ],
)
def test_separators_headers_and_numbers(tmp_path: Path, name: str, text: str, names: list[str] | None) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    assert is_table(path)
    table = read_table(path, width=3)
    np.testing.assert_array_equal(table.values, X)
    assert table.values.dtype == np.float64
    assert table.names == names
    assert (table.rows, table.unused, table.more) == ([0, 1], [], False)


def test_columns_are_taken_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("c,patient,a,b,note\n0.003,P1,1.5,-2,\n12.25,P2,0,1,?\n")
    table = read_table(path, ["a", "b", "c"])
    np.testing.assert_array_equal(table.values, X)
    assert table.names == ["a", "b", "c"]
    assert table.unused == ["patient", "note"]
    # Names may be numbers, and a table without names is taken as it is.
    path.write_text("2,1\n5,6\n")
    np.testing.assert_array_equal(read_table(path, ["1", "2"]).values, [[6.0, 5.0]])
    np.testing.assert_array_equal(read_table(path, ["a", "b"]).values, [[2.0, 1.0], [5.0, 6.0]])


def test_rows_are_chosen_in_their_order_and_others_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{row},1\n" for row in range(6)) + "no number,1\n")
    for text, wanted, more in (("4,:2", [4, 0, 1], True), ("5", [5], True), ("3:6", [3, 4, 5], True)):
        table = read_table(path, rows=Rows.parse(text))
        assert (table.rows, table.more) == (wanted, more)
        np.testing.assert_array_equal(table.values[:, 0], wanted)
    with pytest.raises(InputError, match=r"row 6 \(line 8\), column 'a' holds 'no number', which is no number"):
        read_table(path)
    path.write_text("a,b\n1,1\n2,1\n")
    table = read_table(path, rows=Rows(((1, 99),), beyond=True))
    assert (table.rows, table.more) == ([1], False)
    for text in ("0,2", "1:99", "2:"):
        with pytest.raises(InputError, match=r"there is no row 2: there are 2 row\(s\)"):
            read_table(path, rows=Rows.parse(text))


@pytest.mark.parametrize("text", ["", "a", "1:2:3", "-1", "5:5", "3:1", "1,,2"])
def test_rows_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="give numbers and ranges such as 0:5 or 3,7"):
        Rows.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b,c\n", "holds no samples"),
        ("a,b,c\n1,2,3\n1,,3\n", r"row 1 \(line 3\), column 'b' is empty"),
        ("1,2,3\n1,?,3\n", r"row 1 \(line 2\), column 1 holds '\?'"),
        ("1,,3\n1,2,3\n", r"row 0 \(line 1\), column 1 is empty"),
        ("a,b,c\n\n1,2,NaN\n", r"row 0 \(line 3\), column 'c' holds nan"),
        ("a,b,c\n1,-inf,3\n", r"row 0 \(line 2\), column 'b' holds -inf"),
        ("a,b,c\n1,2,3\n1,red,3\n", r"row 1 \(line 3\), column 'b' holds 'red', which is no number"),
        ("a,b,c\n1,2,3\n1,2\n", r"row 1 \(line 3\) has 2 cells, the first line has 3"),
        ("a,b,d\n1,2,3\n", r"lacks the column\(s\) 'c'; it has 'a', 'b', 'd'"),
        ("a,b,c,b\n1,2,3,4\n", "more than one column 'b'"),
        ("1,2,3,4\n", r"has 4 column\(s\), the model takes 3 features; name the columns"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read_table(path, ["a", "b", "c"])
    assert str(path) in str(raised.value)


def test_what_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(InputError, match="no such file"):
        read_table(path)
    path.write_text("id,a\n1,2\n")
    with pytest.raises(InputError, match=r"has 2 column\(s\), the model takes 1 features; the model does not know the names"):
        read_table(path, width=1)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no UTF-8 text"):
        read_table(path)
    whole = gzip.compress(b"1,2\n" * 1000)
    packed = tmp_path / "t.csv.gz"
    for content in (b"1,2\n", whole[:-12]):
        packed.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as a table"):
            read_table(packed)


def test_wide_tables_without_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(f"feature {column}" for column in range(20_000)), ",".join(["0.25"] * 20_000)]))
    table = read_table(path)
    assert table.values.shape == (1, 20_000)
    assert table.names is not None
    assert table.names[-1] == "feature 19999"
