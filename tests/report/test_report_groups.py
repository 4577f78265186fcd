"""The report's lines on groups, from hand-written metrics."""

from pipeline_lib.report.groups import group_facts

GROUPS = {
    "same_groups": 2,
    "same_products": 5,
    "same_largest": 3,
    "same_relevance_rows": 1_007,
    "perhaps_groups": 3,
    "perhaps_products": 1_200,
    "perhaps_largest": 9,
    "fold_groups": 0,
    "fold_products": 0,
    "fold_largest": 0,
    "placeholder_photos": 1,
    "placeholder_products": 60,
    "text_across_bins": 4,
}


def test_hand_worked_lines():
    assert group_facts(GROUPS) == [
        ("The same thing", "2 groups of 5 products, the largest of 3"),
        ("Perhaps the same (in one fold)", "3 groups of 1,200 products, the largest of 9"),
        ("Groups of the folds, with equal texts", "no group"),
        ("Right answers that these groups add", "1,007"),
        ("Placeholder photos", "1, on 60 products; they group nothing"),
        ("Products whose text is in another fold or split too", "4"),
    ]
    seen = {"test_near_text": 0.125, "test_near_photo": 0, "test_near_either": 0.125}
    assert group_facts(GROUPS | seen | {"placeholder_photos": 0})[4:] == [
        ("Placeholder photos", "0"),
        ("Products whose text is in another fold or split too", "4"),
        ("Test products with a near-equal text in training", "12.5 %"),
        ("Test products with a near-equal photo in training", "0.0 %"),
        ("Test products with a near-equal text or photo in training", "12.5 %"),
    ]
