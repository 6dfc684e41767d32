"""The end of a run: the report, and the last lines in the terminal."""

from __future__ import annotations

from recipes.job import Job, console


def conclude(job: Job) -> None:
    """Write the report, say what was found, and which file to open."""
    from rl.report import write_report
    from rl.report_findings import findings
    from rl.report_summary import summarise

    path = write_report(job.run)
    job.tracker.artifact("report", path)
    console.print()
    for finding in findings(summarise(job.run)):
        console.print(
            f"  {finding.text}", style="yellow" if finding.tone == "warning" else None, highlight=False, soft_wrap=True
        )
    console.print(f"\nOpen [bold]{path}[/bold]", highlight=False, soft_wrap=True)
