"""``cambench time``: a thin command over ``timing``."""

from __future__ import annotations

from ...consoles import out, say_written
from ..timing.timing_request import TimeRequest
from .options import command, load_plugins


@command(TimeRequest)
def time_stages(request: TimeRequest) -> None:
    """Time each stage of the one pass: median and IQR, in milliseconds per image and in plain forwards.

    Example:

        cambench time --triples 'slim_resnet/*/*' --batch-size 16
    """
    from ..engine.planning.words import check_request

    check_request(request.config)
    from ..timing.stage_times import show_timings, time_pass

    load_plugins(request.plugins)
    figures = time_pass(request.config, stage=request.stage, batches=request.batches)
    show_timings(figures, out)
    if request.out is not None:
        request.out.write_text(figures.model_dump_json(indent=2) + "\n", encoding="utf-8")
        say_written([request.out])
