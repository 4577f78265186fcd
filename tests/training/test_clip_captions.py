"""Several captions a clip: one of them a batch, and the others are negatives of the clip in no loss."""

# ruff: noqa: F811 (fixtures are imported by name)
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from written_msr_vtt import CAPTIONS_EACH, write_msr_vtt
from written_tables import reader_params  # noqa: F401

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.datasets.msr_vtt import read_msr_vtt
from pipeline_lib.loading.captions import answered_texts, draw_captions, with_answers, with_captions
from pipeline_lib.loading.dataset import shuffled_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.losses.info_nce import InfoNCE
from pipeline_lib.losses.memory_queue import MemoryQueue
from pipeline_lib.losses.pairs import false_negatives
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.training.right_answers import right_answers

NUM_CLIPS, SEED, DIM = 5, 3, 8
REPO = Path(__file__).parents[2]


@pytest.fixture
def clips(tmp_path, reader_params):
    """The training clips of MSR-VTT as the loader has them, with four frames each."""
    write_msr_vtt(tmp_path, clips=False)
    data = reader_params(train_videos="MSRVTT_train.9k.csv", test_videos="MSRVTT_JSFUSION_test.csv")
    records = read_msr_vtt(data)
    own = records.products.filter(split="train")
    texts = own["text"].to_list()
    numbers, zeros = np.arange(NUM_CLIPS), np.zeros(NUM_CLIPS, np.int64)
    plain = Products(own["product_id"].to_list(), texts, numbers, numbers.copy(), zeros, numbers * 4, zeros + 4)
    trained = with_captions(plain, records.queries, records.relevance)
    return with_answers(trained, records.queries, records.relevance)


def batch_of(products, rows, epoch):
    numbers = draw_captions(products.captions, rows, SEED, epoch)
    every = {name: torch.from_numpy(rows.copy()) for name in ("product", "label")}
    return Batch(
        group=torch.from_numpy(products.group[rows]),
        text=torch.from_numpy(numbers),
        has_text=torch.ones(len(rows), dtype=torch.bool),
        answers=torch.from_numpy(answered_texts(products.answers, rows)),
        **every,
    )


def outputs_of(count, seed):
    generator = torch.Generator().manual_seed(seed)
    image, text = (normalize(torch.randn(count, DIM, generator=generator)).requires_grad_() for _ in range(2))
    return Outputs(image_embedding=image, text_embedding=text, logit_scale=torch.tensor(7.0))


def test_an_epoch_shows_a_clip_once_with_one_of_its_captions_and_n_epochs_show_all(clips):
    shown = {row: [] for row in range(NUM_CLIPS)}
    for epoch in range(CAPTIONS_EACH):
        batches = shuffled_batches(NUM_CLIPS, NUM_CLIPS, SEED, epoch)
        assert sorted(row for _, rows in batches for row in rows) == list(range(NUM_CLIPS))
        smaller = [row for _, rows in shuffled_batches(NUM_CLIPS, 2, SEED, epoch) for row in rows]
        assert len(smaller) == len(set(smaller)) == 4
        for _, rows in batches:
            for row, number in zip(rows.tolist(), draw_captions(clips.captions, rows, SEED, epoch), strict=True):
                shown[row].append(clips.texts[number])
    for row, texts in shown.items():
        assert sorted(texts) == [f"caption {turn} of clip {row}" for turn in range(CAPTIONS_EACH)]


def test_only_captions_of_other_clips_are_negatives_in_a_batch_with_two_captions_of_each_clip(clips):
    """Such batches arise where steps or processes are joined."""
    rows = np.arange(NUM_CLIPS)
    twice = [batch_of(clips, rows, epoch) for epoch in (0, 1)]
    joined = Batch(**{name: torch.cat([getattr(one, name) for one in twice])
                      for name in ("product", "group", "text", "has_text", "label", "answers")})  # fmt: skip
    masked = false_negatives(joined)
    for one, other in np.ndindex(2 * NUM_CLIPS, 2 * NUM_CLIPS):
        assert bool(masked[one, other]) == (one % NUM_CLIPS == other % NUM_CLIPS)
    outputs = outputs_of(2 * NUM_CLIPS, 1)
    section = parse_section(LossesParams, load_params(REPO / "params.yaml"))
    loss = InfoNCE(section.info_nce)(outputs, joined)
    similar = (outputs.logit_scale * outputs.image_embedding @ outputs.text_embedding.T).detach()
    terms = []
    for own in range(2 * NUM_CLIPS):
        for logits in (similar[own], similar[:, own]):
            compared = [other for other in range(2 * NUM_CLIPS) if other == own or other % NUM_CLIPS != own % NUM_CLIPS]
            terms.append(torch.logsumexp(logits[compared], dim=0) - logits[own])
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)


def test_a_queued_caption_of_a_clip_is_not_its_negative_in_the_next_epoch(clips):
    section = parse_section(LossesParams, load_params(REPO / "params.yaml")).memory_queue.model_copy(
        update={"size": NUM_CLIPS, "start_epoch": 0, "momentum": 0.0}
    )
    rows = np.arange(NUM_CLIPS)
    queue = MemoryQueue(section)
    queue.train()
    queue.begin_epoch(0)
    before, after = outputs_of(NUM_CLIPS, 1), outputs_of(NUM_CLIPS, 2)
    queue(before, batch_of(clips, rows, 0))
    loss = queue(after, batch_of(clips, rows, 1))
    scale = 7.0
    terms = []
    for own in range(NUM_CLIPS):
        for anchor, keys, old in (
            (after.image_embedding, after.text_embedding, before.text_embedding),
            (after.text_embedding, after.image_embedding, before.image_embedding),
        ):
            logits = [scale * anchor[own] @ keys[other] for other in range(NUM_CLIPS)]
            logits += [scale * anchor[own] @ old[other] for other in range(NUM_CLIPS) if other != own]
            terms.append(torch.logsumexp(torch.stack(logits), dim=0) - logits[own])
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)


def test_mining_takes_no_caption_of_a_clip_for_its_hard_negative(clips):
    rows, columns = right_answers(clips, np.arange(NUM_CLIPS)).pairs(slice(0, NUM_CLIPS), slice(0, NUM_CLIPS))
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(row, row) for row in range(NUM_CLIPS)}
