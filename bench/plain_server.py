"""The peer of bench/serve.py: FastAPI, FAISS and the model in one `def` endpoint, as such servers are usually written.

python bench/plain_server.py PORT       (in a project with an index flat-0)
"""

import json
import sys
from pathlib import Path
from typing import Any

import faiss
import polars as pl
import torch
import uvicorn
from fastapi import FastAPI

from pipeline_lib.artifacts import paths
from pipeline_lib.models.saved import load_model
from pipeline_lib.transforms.tokenize import TextTokenizer

app = FastAPI()
folder = paths.train_of(0)
model = load_model(folder).model
tokenizer = TextTokenizer(folder / "tokenizer")
max_tokens = json.loads((folder / "model.json").read_text())["description"]["text"]["max_tokens"]
index = faiss.read_index(str(paths.index_of("flat", 0) / "index.faiss"))
ids = pl.read_parquet(paths.index_of("flat", 0) / "ids.parquet")["product_id"].to_list()
products = {row["product_id"]: row for row in pl.read_parquet(Path(paths.CATALOGUE) / "products.parquet").to_dicts()}


@app.get("/api/search")
def search(q: str, k: int = 24) -> list[dict[str, Any]]:
    """Return the top k products of a text."""
    token_ids, mask = tokenizer.encode_batch([q], max_tokens)
    with torch.inference_mode():
        query = model.embed_text(model.encode_text(torch.from_numpy(token_ids), torch.from_numpy(mask)))
    scores, rows = index.search(query.numpy(), k)
    found = []
    for score, row in zip(scores[0], rows[0], strict=True):
        product = products[ids[row]]
        fields = {key: product[key] for key in ("product_id", "text", "label")}
        found.append({**fields, "score": float(score)})
    return found


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
