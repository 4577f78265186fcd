"""Reads the raw table, checks every photo once, and writes the tables that all later stages read."""

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder, write_table
from pipeline_lib.artifacts.spreadsheets import formula_notes
from pipeline_lib.catalogue.attributes import attributes_of
from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.catalogue.cleaning import TooManyRejectedError
from pipeline_lib.catalogue.clips import read_clips
from pipeline_lib.catalogue.schema import Catalogue
from pipeline_lib.catalogue.tables import count, write_catalogue, write_refused
from pipeline_lib.datasets.readers import read_records
from pipeline_lib.datasets.sample_submission import read_sample
from pipeline_lib.execution.device import read_runtime
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.values import ColourProfile


def main() -> None:
    with stage("stages.catalogue") as run:
        data = run.section(DataParams)
        sample = read_sample(data)
        records = read_records(data)
        runtime, convert = read_runtime(), run.value("shards.colour_profile", ColourProfile) == "convert"
        clips = read_clips(paths.CLIPS) if run.value("plan.frames", list[str]) else None
        try:
            with metered("catalogue", records.work(runtime.workers)):
                catalogue = build_catalogue(records, data, runtime.workers, runtime.parallel, clips, convert)
        except TooManyRejectedError as error:
            refused = write_refused(error.rejects)
            for note in formula_notes(error.rejects, refused):
                print(note)
            raise ValueError(f"{error}. {refused} lists all of them") from None
        run.check_catalogue(count(catalogue))
        with fresh_folder(paths.CATALOGUE) as out:
            write_catalogue(out, catalogue)
            write_table(attributes_of(records, catalogue.products), out / "attributes.parquet")
            if sample is not None:
                write_table(sample, out / "sample_submission.csv")
        summarise(catalogue)


def summarise(catalogue: Catalogue) -> None:
    """Print the numbers of products and of rejects by reason, the columns that were read, and notes."""
    counts = count(catalogue)
    print(
        f"catalogue: {counts['products']} products, {catalogue.products['media'].list.len().sum()} photos, "
        f"{counts['classes']} classes, {counts['queries']} queries, {counts['rejected']} rejected"
    )
    groups = counts["groups"]
    for level, name in (("same", "the same thing"), ("perhaps", "perhaps the same, so in one fold")):
        if number := groups[f"{level}_products"]:
            print(
                f"  {name}: {number} products in {groups[f'{level}_groups']} groups, the largest has "
                f"{groups[f'{level}_largest']}"
            )
    if added := groups["same_relevance_rows"]:
        print(f"  groups of the same thing add {added} of {len(catalogue.relevance)} right answers")
    if composed := counts["composed"]:
        print(
            f"  composed queries: {composed['queries']}, {composed['dropped']} dropped; "
            f"{composed['missing_candidates']} candidates have no photo"
        )
    if catalogue.columns:
        print(f"  columns: {'; '.join(f'{role} = {names}' for role, names in catalogue.columns.items())}")
    if catalogue.ignored:
        print(f"  not read: {', '.join(name or '(no name)' for name in catalogue.ignored)}")
    for note in catalogue.notes:
        print(f"  note: {note}")
    reasons = catalogue.rejects.group_by("reason", "action").len().sort("reason", "action")
    for line in reasons.iter_rows(named=True):
        print(f"  {line['reason']}: {line['len']} ({line['action']})")


if __name__ == "__main__":
    main()
