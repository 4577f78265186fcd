#!/usr/bin/env bash
# transformers 5.23.0: a CLIP whose own vocabulary has </s> at number 2 reads each title up to its rarest word: Recall@1
#             .277; with the same vocabulary and </s> at number 1 it is 1.000.
#
# Expected: the text's vector is that of the end token, which eos_token_id of the config names; its number does not
#           matter. <s>, <pad>, </s> as the first tokens is the order of RoBERTa and BART, and of many a tokenizer
#           trained for one language or one catalogue.
# Happens:  CLIPTextModel takes 2 for a config of its first years, in which that number was wrong, and pools at the
#           highest number of the text instead. The numbers of a trained vocabulary grow from frequent to rare pieces,
#           so that is a piece of the rarest word, and the attention is causal: what comes after it is not read. Below,
#           titles are a brand and four attributes in any order, and titles that differ after the brand have one vector:
#           842 for 1,000 titles. Nothing is raised or printed, the loss falls to 1.5 (to .01 with the end at 1), and it
#           looks like a text tower that is too small. CLIPSeg, X-CLIP and GroupViT have the same line. (It is known
#           that tokens cannot be added to a model with such a config; a comment in the code warns of it.)
# Do:       any other number for the end token: train the tokenizer with </s> in another place of special_tokens.
# Versions: transformers 5.23.0, tokenizers 0.23.3, torch 2.15.0 (6 GB of packages), numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: folders of transformers' CLIP, whose texts are pooled at their end here: such a model is refused
#           (pipeline_lib/towers/open_clip_text.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.15.0 \
  numpy==2.4.6
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import random
import sys
from importlib.metadata import version

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

names = ("transformers", "tokenizers", "torch")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
random.seed(0)
torch.manual_seed(0)
torch.set_num_threads(1)
KINDS, VALUES, LENGTH, STEPS = 4, 8, 24, 300
SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]
ATTRIBUTES = [["".join(random.choices(SYLLABLES, k=2)) for _ in range(VALUES)] for _ in range(KINDS)]
BRANDS = ["".join(random.choices(SYLLABLES, k=4)) for _ in range(60)]
PATTERNS = torch.rand(KINDS, VALUES, 3, 32, 32)


def products(count):
    """Return the values of four attributes, photos that show them, and titles of a brand and the attributes."""
    values = torch.randint(0, VALUES, (count, KINDS))
    photos = sum(PATTERNS[kind, values[:, kind]] for kind in range(KINDS)) / KINDS
    titles = []
    for row in values.tolist():
        title = [random.choice(BRANDS), *(ATTRIBUTES[kind][value] for kind, value in enumerate(row))]
        random.shuffle(title)
        titles.append(" ".join(title))
    return values, (photos + 0.05 * torch.randn_like(photos)).clamp(0, 1), titles


def trained(special):
    """Return the recall of a CLIP whose vocabulary begins with these tokens, and how many vectors its titles have."""
    random.seed(1)
    torch.manual_seed(1)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    bpe.train_from_iterator(products(2_000)[2], trainer)
    start, end, pad = (bpe.token_to_id(token) for token in ("<s>", "</s>", "<pad>"))
    pair = [("<s>", start), ("</s>", end)]
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=pair)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=LENGTH
    )
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"vocab_size": len(tokenizer), "bos_token_id": start, "eos_token_id": end, "pad_token_id": pad}
    text = {**shape, **ids, "max_position_embeddings": LENGTH}
    vision = {**shape, "image_size": 32, "patch_size": 16}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))

    def tokens(titles):
        return tokenizer(titles, padding=True, truncation=True, return_token_type_ids=False, return_tensors="pt")

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(STEPS):
        _, photos, titles = products(64)
        loss = model(**tokens(titles), pixel_values=2 * photos - 1, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    values, photos, titles = products(1_000)
    with torch.no_grad():
        outputs = model(**tokens(titles), pixel_values=2 * photos - 1)
    nearest = outputs.logits_per_text.argmax(1)
    recall = (values[nearest] == values).all(1).float().mean().item()
    vectors = len(normalize(outputs.text_embeds).mul(1e4).round().unique(dim=0))
    print(f"{special}: end token {end}, last loss {loss:.2f}, Recall@1 {recall:.3f}, "
          f"{vectors} vectors for {len(set(titles))} titles", flush=True)  # fmt: skip
    return recall, vectors


second = trained(["<s>", "<pad>", "</s>"])
first = trained(["<s>", "</s>", "<pad>"])
if not (first[0] > 0.9 and second[0] < 0.5 and second[1] < first[1]):
    sys.exit("the behaviour has changed")
PYTHON
