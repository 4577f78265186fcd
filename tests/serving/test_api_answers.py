"""Pictures, products, explanations, judgements and the OpenAPI document, against what the model itself gives."""

import io
import os
import re

import jsonschema
import numpy as np
import polars as pl
import pytest
from PIL import Image
from served_project import SIZE, photo_vector, text_vector

from pipeline_lib.artifacts import paths
from pipeline_lib.models.saved import load_model
from pipeline_lib.serving.api import FILES
from pipeline_lib.serving.judgements import HEADER, JudgementFile, read_judgements


@pytest.fixture(scope="module")
def model(served_root):
    return load_model(served_root / paths.train_of(0)).model


@pytest.fixture(scope="module")
def vectors(service):
    index = service.opened[0].model.index
    return dict(zip(index.product_ids, index.index.reconstruct_n(0, len(index.product_ids)), strict=True))


def ranked(query, vectors, without=()):
    scores = {key: float(vector.astype(float) @ query.astype(float)) for key, vector in vectors.items()}
    return sorted(set(vectors) - set(without), key=lambda key: (-np.float32(scores[key]), key))


def ids_of(response):
    assert response.status_code == 200, response.text
    return [row["product_id"] for row in response.json()["results"]]


def photo_of(call, product_id):
    return call("GET", "/api/photo", params={"id": product_id})


def test_a_picture_is_embedded_as_the_products_photos_are(call, served_root, model, vectors):
    photo = photo_of(call, "p8")
    response = call("POST", "/api/search", data={"k": 36}, files={"picture": photo.content})
    assert ids_of(response) == ranked(photo_vector(served_root, model, "p8"), vectors)
    assert response.json()["method"] == "picture"
    # The same pixels in another format give the same order.
    stream = io.BytesIO()
    Image.open(io.BytesIO(photo.content)).save(stream, "PNG")
    assert ids_of(call("POST", "/api/search", data={"k": 36}, files={"picture": stream.getvalue()})) == ids_of(response)


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_a_picture_with_a_text_is_the_sum_of_both_unit_vectors(call, served_root, model, vectors):
    query = unit(photo_vector(served_root, model, "p8")) + unit(text_vector(served_root, model, 0, "red hat"))
    asked = {"files": {"picture": photo_of(call, "p8").content}}
    response = call("POST", "/api/search", data={"q": "red hat", "k": 36}, **asked)
    assert ids_of(response) == ranked(unit(query), vectors) and response.json()["method"] == "sum"


def test_a_product_is_never_among_those_like_it(call, served_root, model, vectors):
    response = call("GET", "/api/search", params={"like": "p7", "k": 36})
    assert ids_of(response) == ranked(vectors["p7"], vectors, ["p7"])
    query = unit(vectors["p7"]) + unit(text_vector(served_root, model, 0, "blue"))
    changed = call("GET", "/api/search", params={"like": "p7", "q": "blue", "k": 36})
    assert ids_of(changed) == ranked(unit(query), vectors, ["p7"])


def test_a_products_page_has_its_duplicates_and_neighbours(call, vectors):
    page = call("GET", "/api/product", params={"id": "p3"}).json()
    assert page["duplicates"] == ["p9"]
    neighbours = [row["product_id"] for row in page["neighbours"]]
    order = ranked(vectors["p3"], vectors, ["p3", "p9"])
    # p0 and p12 are one thing, of which the better one is shown.
    worse = max(("p0", "p12"), key=order.index)
    assert neighbours == [key for key in order if key != worse][:12]
    assert page["product"]["numbers"] == {"price": 7.5} and page["product"]["category"] == "hat"
    assert call("GET", "/api/product", params={"id": "p4"}).json()["product"]["numbers"] == {}


def test_every_photo_of_a_product_is_served_and_no_other(call, served_root):
    products = pl.read_parquet(served_root / paths.CATALOGUE / "products.parquet")
    row = call("GET", "/api/product", params={"id": "p6"}).json()["product"]
    assert row["photos"] == len(products.filter(pl.col("product_id") == "p6")["media"][0]) == 2
    for number in range(2):
        photo = call("GET", "/api/photo", params={"id": "p6", "number": number})
        raw = Image.open(served_root / paths.WORK / "raw" / f"p6_{number}.png").convert("RGB")
        served = Image.open(io.BytesIO(photo.content)).convert("RGB")
        assert np.array_equal(np.asarray(raw), np.asarray(served)) and photo.headers["content-type"] == "image/png"
    assert call("GET", "/api/photo", params={"id": "p6", "number": 2}).json()["error"]["code"] == "no_photo"


def test_words_count_by_the_score_without_them(call, served_root, model, vectors):
    answer = call("POST", "/api/explain", data={"product": "p2", "q": "red 帽 plain"}).json()
    score = {
        text: float(text_vector(served_root, model, 0, text) @ vectors["p2"])
        for text in ("red 帽 plain", "帽 plain", "red plain", "red 帽")
    }
    full = score["red 帽 plain"]
    assert answer["score"] == pytest.approx(full, abs=1e-6)
    assert [one["word"] for one in answer["words"]] == ["red", "帽", "plain"]
    expected = [full - score["帽 plain"], full - score["red plain"], full - score["red 帽"]]
    assert [one["change"] for one in answer["words"]] == pytest.approx(expected, abs=2e-6)
    photo = float(text_vector(served_root, model, 0, "red 帽 plain") @ photo_vector(served_root, model, "p2"))
    assert answer["photo_score"] == pytest.approx(photo, abs=0.4)  # the stored vectors have noise
    assert call("POST", "/api/explain", data={"product": "p2", "q": "red"}).json()["words"] == []


def test_the_map_of_a_photo_is_over_its_central_square(call):
    answer = call("POST", "/api/explain", data={"product": "p2", "q": "red mug"}).json()
    found = answer["map"]
    values = np.array(found["values"])
    assert found["kind"] == "grad_cam" and found["box"] == [0.0, 0.0, 1.0, 1.0]
    assert (values >= 0).all() and values.sum() == pytest.approx(1, abs=1e-3)
    picture = {"picture": photo_of(call, "p8").content}
    assert call("POST", "/api/explain", data={"product": "p2"}, files=picture).json()["map"] is not None


def test_answers_are_what_the_openapi_document_says(call):
    document = call("GET", "/openapi.json").json()

    def check(path, method, response):
        schema = document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(response.json(), {**schema, "components": document["components"]})

    check("/api/search", "get", call("GET", "/api/search", params={"q": "red"}))
    check("/api/search", "post", call("POST", "/api/search", files={"picture": photo_of(call, "p1").content}))
    check("/api/product", "get", call("GET", "/api/product", params={"id": "p1"}))
    check("/api/explain", "post", call("POST", "/api/explain", data={"product": "p1", "q": "red mug"}))
    check("/api/catalogue", "get", call("GET", "/api/catalogue"))
    check("/health", "get", call("GET", "/health"))
    names = {one["name"] for one in document["paths"]["/api/search"]["get"]["parameters"]}
    assert names == {"q", "like", "model", "k", "category", "range", "min_score", "hide_duplicates"}


def test_the_catalogue_names_filters_and_models(call):
    answer = call("GET", "/api/catalogue").json()
    assert [one["name"] for one in answer["models"]] == ["fold 0", "fold 1"]
    assert answer["categories"] == [{"name": "hat", "products": 18}, {"name": "mug", "products": 17}]
    assert answer["numbers"] == [{"column": "price", "low": 0.0, "high": 87.5, "missing": 1}]
    assert answer["duplicates"] == 2 and answer["can_judge"]


def test_judgements_are_lines_and_the_last_one_counts(call, service):
    def judge(grade):
        body = {"query": "  green\u00a0hat ", "product_id": "p5", "grade": grade, "model": 1}
        return call("POST", "/api/judgements", json=body).json()

    assert judge(1) == {"query": "green hat", "grades": {"p5": 1}}
    assert judge(0)["grades"] == {"p5": 0}
    judged = call("GET", "/api/judgements/queries").json()["queries"]
    assert judged[-1] == {"query": "green hat", "grades": {"p5": 0}}
    assert judge(None)["grades"] == {}
    assert "green hat" not in [one["query"] for one in call("GET", "/api/judgements/queries").json()["queries"]]
    lines = [one for one in read_judgements(service.judgements.path) if one.query == "green hat"]
    assert [one.grade for one in lines] == [1, 0, None] and {one.model for one in lines} == {"fold 1"}


def test_a_file_of_judgements_is_read_again_and_survives_a_cut_line(tmp_path):
    path = tmp_path / "judged.csv"
    JudgementFile(path).add('a "red", mug\u2028', "p1", 1, "fold 0")
    again = JudgementFile(path)
    assert again.of_query('a "red", mug\u2028') == {"p1": 1}
    again.add("mug", "p2", 0, "fold 0")
    assert [one.product_id for one in read_judgements(path)] == ["p1", "p2"]
    with path.open("a", encoding="utf-8") as stream:
        stream.write("mug,p3")
    again.add("mug", "p4", 1, "fold 0")
    with pytest.raises(ValueError, match="line 4: 'mug,p3' is no judgement; remove it"):
        read_judgements(path)


def test_a_file_that_a_spreadsheet_saved_is_read(tmp_path):
    path = tmp_path / "judged.csv"
    JudgementFile(path).add("杯", "p1", 1, "fold 0")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert [(one.query, one.grade) for one in read_judgements(path)] == [("杯", 1)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("杯,p1,1,fold 0,t".encode("gb18030"), "judged.csv: not UTF-8; save it as CSV UTF-8"),
        (b'mug,"p1"x,1,fold 0,t', "judged.csv: line 2: "),
        (b"mug," + b"p" * 200_000 + b",1,fold 0,t", "judged.csv: line 2: field larger than field limit"),
        (b'"mug,p1,1,fold 0,t\nhat,p2,1,fold 0,t', "judged.csv: line 2: unexpected end of data"),
        (b"mug,p1,2,fold 0,t", "judged.csv: line 2: 'mug,p1,2,fold 0,t' is no judgement; remove it"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line, message):
    path = tmp_path / "judged.csv"
    path.write_bytes((",".join(HEADER) + "\n").encode() + line + b"\n")
    with pytest.raises(ValueError, match=message):
        read_judgements(path)


def test_a_judgement_is_written_whole_in_parts(tmp_path, monkeypatch):
    """A write may take a part: the rest follows, as a cut line is a judgement lost."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    JudgementFile(tmp_path / "judged.csv").add("red mug", "p1", 1, "fold 0")
    assert [one.product_id for one in read_judgements(tmp_path / "judged.csv")] == ["p1"]


def test_a_judgement_that_a_full_disk_cuts_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file, write = JudgementFile(tmp_path / "judged.csv"), os.write
    file.add("red mug", "p1", 1, "fold 0")
    before = file.path.read_bytes()

    def full(descriptor, data):
        if len(data) < 15:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:-14])

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "write", full)
        file.add('a "green, hat"', "p1", 1, "fold 0")
    assert file.path.read_bytes() == before and file.of_query('a "green, hat"') == {}
    file.add("hat", "p2", 1, "fold 0")
    assert len(read_judgements(file.path)) == 2


def test_another_file_is_not_overwritten(tmp_path):
    path = tmp_path / "products.csv"
    path.write_text("id,text\n1,mug\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"products.csv: its first line must be query,product_id.*correct it, or move"):
        JudgementFile(path)
    assert path.read_text(encoding="utf-8") == "id,text\n1,mug\n"


def test_the_page_loads_nothing_from_elsewhere(call):
    page = call("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy and page.headers["x-content-type-options"] == "nosniff"
    for name in FILES:
        text = call("GET", name).text.replace("http://www.w3.org/", "")
        assert "http://" not in text and "https://" not in text, name


def test_both_languages_have_the_same_words(call):
    text = call("GET", "/words.js").text
    english, chinese = (text.split(f"  {name}: {{")[1].split("\n  },")[0] for name in ("en", "zh"))

    def keys(part):
        return re.findall(r"(?m)(?:^|[,{]\s)\s*(\w+): \"", part)

    assert keys(english) == keys(chinese) and len(keys(english)) > 60
    assert sum(key.startswith("error_") for key in keys(english)) >= 12


def test_metrics_count_requests_and_batches(call):
    call("GET", "/api/search", params={"q": "red"})
    text = call("GET", "/metrics").text
    assert 'vitrine_products{model="fold 0"} 36.0' in text
    assert 'vitrine_request_seconds_bucket{le="0.5",path="/api/search"}' in text
    assert "vitrine_batch_size_count" in text and SIZE == 32
