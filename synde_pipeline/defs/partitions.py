"""The two partitionings: days of logs, and training cycles."""

import dagster as dg

from synde_pipeline.settings import load

# end_offset=1 makes today a partition: logs land all day.
daily = dg.DailyPartitionsDefinition(start_date=load().start_day.isoformat(), timezone="UTC", end_offset=1)
"""One object for all daily assets: a different start date would split a backfill into several runs."""

training_cycles = dg.DynamicPartitionsDefinition(name="training_cycles")

# A range of days is one run that loops over them: a 60-day backfill is one run, not 60.
one_run = dg.BackfillPolicy.single_run()
