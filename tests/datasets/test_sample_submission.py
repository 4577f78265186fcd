"""A competition's sample submission."""

import pytest
from written_tables import reader_params, table  # noqa: F401

from pipeline_lib.datasets.sample_submission import read_sample


@pytest.fixture
def read(reader_params, table):  # noqa: F811
    def read_content(content, named="sample.csv"):
        table(content, "sample.csv")
        return read_sample(reader_params(sample_submission=named))

    return read_content


def test_columns_and_order_are_preserved_as_strings(read):
    sample = read("image_id,target\n007,\n3,cup\n12,0\n")
    assert sample.columns == ["image_id", "target"]
    assert sample.rows() == [("007", ""), ("3", "cup"), ("12", "0")]


def test_without_a_named_file_there_is_none(read):
    assert read("id,label\n1,x\n", named=None) is None


@pytest.mark.parametrize(
    ("content", "named", "message"),
    [
        ("id,label\n1,x\n", "other.csv", "data.sample_submission = 'other.csv': no such file"),
        ("id,label\n1,x\n", "../sample.csv", "unsafe path, so it is not read"),
        ("id,a,b\n1,0,1\n", "sample.csv", "two columns, the id first and the label second; found id, a, b"),
        ("id,label\n1,x\n2,x\n1,x\n", "sample.csv", "row 4: the id '1' is repeated"),
        ("id,label\n1,x\n,x\n", "sample.csv", "row 3: the id is empty"),
    ],
)
def test_a_file_of_another_format_is_one_line(read, content, named, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(content, named)
    assert "\n" not in str(caught.value)
