"""The schema: what is written is what is read, and what cannot be read is named."""

import json

import pytest

from models.schema import SCHEMA_FILE, Kind, Side, load_schema


def test_a_schema_is_read_as_it_was_written(schema, tmp_path):
    schema.save(tmp_path)

    assert load_schema(tmp_path) == schema


@pytest.mark.parametrize(
    ("kind", "side", "names"),
    [
        (Kind.CATEGORICAL, Side.REQUEST, ["hour", "region"]),
        (Kind.CATEGORICAL, Side.AD, ["cuisine", "store"]),
        (Kind.DENSE, Side.AD, ["ad_ctr", "ad_cvr"]),
        (Kind.DENSE, Side.CROSS, ["known_orders"]),
        (Kind.LIST, Side.REQUEST, ["history", "visited"]),
        (Kind.VECTOR, Side.AD, ["text", "visual"]),
        (Kind.CATEGORICAL, Side.CROSS, []),
    ],
)
def test_columns_of_a_kind_and_side_come_in_the_order_of_the_schema(schema, tmp_path, kind, side, names):
    schema.save(tmp_path)

    for read in (schema, load_schema(tmp_path)):
        assert [c.name for c in read.columns(kind, side)] == names


def test_a_schema_written_before_there_were_ordered_lists_and_vectors_is_read(tmp_path):
    column = {
        "name": "history", "kind": "list", "dtype": "list<int32>", "unit": "", "side": "request", "cardinality": 9,
        "values_of": "store",
    }  # fmt: skip
    (tmp_path / SCHEMA_FILE).write_text(json.dumps({"version": 1, "tables": {"requests": [column]}}))

    (history,) = load_schema(tmp_path).columns(Kind.LIST, Side.REQUEST)

    assert (history.cardinality, history.ordered, history.width) == (9, False, 0)


def test_a_missing_schema_is_refused_with_its_path(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path / SCHEMA_FILE} is missing"):
        load_schema(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", "null", '{"version": 1}', '{"tables": []}', '{"tables": {"requests": 3}}',
        '{"tables": {"requests": [{"name": "x", "kind": "colour", "side": "", "dtype": "int32"}]}}',
        '{"tables": {"requests": [{"name": "x", "kind": "id", "side": ""}]}}',
        '{"tables": {"requests": [{"name": "x", "kind": "id", "side": "", "dtype": "int32", "taste": 1}]}}',
        '{"tables": {"requests": [{"kind": "id", "side": "left", "dtype": "int32"}]}}',
    ],
)  # fmt: skip
def test_a_damaged_schema_is_refused_with_its_path(tmp_path, text):
    (tmp_path / SCHEMA_FILE).write_text(text)

    with pytest.raises(ValueError, match=rf"{tmp_path / SCHEMA_FILE} is damaged"):
        load_schema(tmp_path)


def test_a_schema_that_is_no_text_is_refused_with_its_path(tmp_path):
    (tmp_path / SCHEMA_FILE).write_bytes(b"\xff\xfe\x00{")

    with pytest.raises(ValueError, match=rf"{tmp_path / SCHEMA_FILE} is damaged"):
        load_schema(tmp_path)
