#!/usr/bin/env bash
# sentence-transformers 6.2.0: a SigLIP finds the photo of 70 % of the titles, or of 50 % in one large batch; padded as
#             it was trained, of all.
#
# Expected: SentenceTransformer(folder) knows a SiglipModel: it has the modalities text and image, takes photos and
#           titles, and pools as the model does, so it also pads as transformers' documentation says. A vector depends
#           on its text; batch_size is a matter of speed.
# Happens:  texts are padded to the longest of their batch. SigLIP has no mask and pools the last position, so a text
#           that is not padded to max_length is pooled at a position that never was the last one in training, and at
#           another one beside a longer text. So the vectors of a query alone and of the same text in a catalogue
#           differ: below, by a cosine of .92 on average and .61 at least; Recall@1 is .698 in batches of 1, .701 in
#           batches of 32, .504 in one batch of 1,000, and 1.000 after padding to max_length. Nothing is printed, scores
#           look usual, and photos are right, so it is taken for a weak model. (transformers' pages on SigLIP ask for
#           padding="max_length"; here nobody calls the tokenizer.)
# Do:       encode(texts, processing_kwargs={"text": {"padding": "max_length"}}) in every call; encode one text alone
#           and beside a long one, and compare.
# Versions: sentence-transformers 6.2.0, transformers 5.23.0, torch 2.15.0, torchvision 0.29.2 (6 GB of packages),
#           pillow 13.0.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: vectors that are made outside; towers whose texts depend on the padding are refused here
#           (pipeline_lib/towers/open_clip_text.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check sentence-transformers==6.2.0 \
  transformers==5.23.0 torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import random
import sys
from importlib.metadata import version

import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

names = ("sentence-transformers", "transformers", "torch", "torchvision", "pillow")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
torch.set_num_threads(1)
torch.manual_seed(0)
random.seed(0)
KINDS, VALUES, LENGTH, STEPS = 4, 8, 32, 700
ATTRIBUTES = [[f"attribute{kind}is{value}" for value in range(VALUES)] for kind in range(KINDS)]
OTHERS = [f"word{number}" for number in range(100)]
PATTERNS = torch.rand(KINDS, VALUES, 3, 32, 32)
words = ["</s>", "<unk>", *sum(ATTRIBUTES, []), *OTHERS]
tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
# As in SigLIP's checkpoints: padding is </s>, and the tokenizer gives no mask.
names = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>", "model_input_names": ["input_ids"]}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LENGTH, **names)
shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = {"vocab_size": len(words), "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
text = {**shape, **ids, "max_position_embeddings": LENGTH}
model = SiglipModel(SiglipConfig(text_config=text, vision_config={**shape, "image_size": 32, "patch_size": 16}))
model.logit_scale.data.fill_(2.3)  # the paper's initial values
model.logit_bias.data.fill_(-10.0)


def products(count):
    """Return values of four attributes, photos that show them, and titles that name them among other words."""
    values = torch.randint(0, VALUES, (count, KINDS))
    photos = sum(PATTERNS[kind, values[:, kind]] for kind in range(KINDS)) / KINDS
    titles = []
    for row in values.tolist():
        title = [ATTRIBUTES[kind][value] for kind, value in enumerate(row)]
        title += random.choices(OTHERS, k=random.randint(0, 8))
        titles.append(" ".join(random.sample(title, len(title))))
    return values, (photos + 0.05 * torch.randn_like(photos)).clamp(0, 1), titles


optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, STEPS)
for _ in range(STEPS):
    _, photos, titles = products(64)
    tokens = tokenizer(titles, padding="max_length", truncation=True, return_tensors="pt")
    loss = model(**tokens, pixel_values=2 * photos - 1, return_loss=True).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
model.save_pretrained("siglip")
SiglipProcessor(SiglipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained("siglip")

tower = SentenceTransformer("siglip", device="cpu")
values, photos, titles = products(1_000)
pictures = [Image.fromarray(photo.permute(1, 2, 0).mul(255).round().byte().numpy()) for photo in photos]
settings = {"normalize_embeddings": True, "convert_to_tensor": True}
gallery = tower.encode(pictures, **settings)


def recall(vectors):
    nearest = (vectors @ gallery.T).argmax(1)
    return round((values[nearest] == values).all(1).float().mean().item(), 3)


found = {size: tower.encode(titles, batch_size=size, **settings) for size in (1, 32, 1_000)}
padded = tower.encode(titles, processing_kwargs={"text": {"padding": "max_length"}}, **settings)
for size, vectors in found.items():
    print(f"encode, batches of {size}: Recall@1 {recall(vectors)}")
print(f"encode, padding to max_length: Recall@1 {recall(padded)}")
longest = max(titles, key=lambda title: len(title.split()))
beside = [tower.encode([title, longest], **settings)[0] for title in titles[:200]]
cosines = (torch.stack(beside) * found[1][:200]).sum(1)
print(f"titles alone and beside a long one: cosine {cosines.mean():.2f} on average, {cosines.min():.2f} at least")
if not (recall(padded) > 0.9 and recall(found[32]) < 0.8 and recall(found[1_000]) < 0.6 and cosines.min() < 0.7):
    sys.exit("the behaviour has changed")
PYTHON
