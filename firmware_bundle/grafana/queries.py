"""The queries of the dashboard and the alerts. Not here: building the files of Grafana (generate.py).

`$camera` is the variable of the dashboard, one or more scraped devices.
"""

from __future__ import annotations

from dataclasses import dataclass

JOB = 'job="edge-app",instance=~"$camera"'


@dataclass(frozen=True)
class Panel:
    """One plot. queries: PromQL by legend. unit: of Grafana."""

    title: str
    unit: str
    queries: dict[str, str]


@dataclass(frozen=True)
class Alert:
    """A condition that must hold for `minutes`. summary: for people; `{{ $labels.instance }}` is the device."""

    name: str
    expr: str
    minutes: int
    severity: str
    summary: str


PANELS = (
    Panel("Camera delivers images", "bool_yes_no", {"{{instance}}": f"edge_app_camera_up{{{JOB}}}"}),
    Panel("Open faults", "short", {"{{instance}} {{severity}}": f"edge_app_faults{{{JOB}}}"}),
    Panel("Frames per second", "short", {"{{instance}}": f"rate(edge_app_frames_total{{{JOB}}}[5m])"}),
    Panel(
        "Time of a stage, 95th percentile",
        "s",
        {
            "{{instance}} {{stage}}": "histogram_quantile(0.95, sum by (instance, stage, le) "
            f"(rate(edge_app_stage_duration_seconds_bucket{{{JOB}}}[5m])))"
        },
    ),
    Panel("Time from capture to results", "s", {"{{instance}}": f"edge_app_latency_seconds{{{JOB}}}"}),
    Panel(
        "Events per hour",
        "short",
        {"{{instance}} {{rule}}": f'increase(edge_app_events_total{{{JOB},type="new"}}[1h])'},
    ),
    Panel(
        "Objects counted per hour", "short", {"{{rule}} {{count}}": f"increase(edge_app_counted_total{{{JOB}}}[1h])"}
    ),
    Panel(
        "Undelivered messages",
        "short",
        {
            "{{instance}} {{sink}}": f"edge_app_sink_queued{{{JOB}}}",
            "{{instance}} on disk": f"edge_app_stored_messages{{{JOB}}}",
        },
    ),
    Panel(
        "Memory",
        "bytes",
        {
            "{{instance}} process": f"edge_app_resident_memory_bytes{{{JOB}}}",
            "{{instance}} available": f"edge_app_available_memory_bytes{{{JOB}}}",
        },
    ),
    Panel("Temperature", "celsius", {"{{instance}}": f"edge_app_temperature_celsius{{{JOB}}}"}),
    Panel(
        "Frames by the part that was computed",
        "short",
        {"{{instance}} {{answer}}": f"rate(edge_app_answers_total{{{JOB}}}[5m])"},
    ),
    Panel("Event clips written", "short", {"{{instance}}": f"increase(edge_app_clips_written_total{{{JOB}}}[1h])"}),
    Panel(
        "Releases",
        "short",
        {"{{instance}} {{version}} {{model}} {{release}}": f"edge_app_build_info{{{JOB}}}"},
    ),
)

ALERTS = (
    Alert("DeviceUnreachable", 'up{job="edge-app"} == 0', 5, "critical", "{{ $labels.instance }} does not answer."),
    Alert("CameraLost", "edge_app_camera_up == 0", 2, "critical", "The camera of {{ $labels.instance }} is lost."),
    Alert(
        "NoFrames",
        "rate(edge_app_frames_total[5m]) == 0 and edge_app_camera_up == 1",
        5,
        "critical",
        "{{ $labels.instance }} processes no frames although its camera delivers images.",
    ),
    Alert(
        "DiskFull",
        'edge_app_fault{code=~"disk_full|disk_failed"} == 1',
        1,
        "error",
        "{{ $labels.instance }} cannot write to its disk: {{ $labels.code }}.",
    ),
    Alert(
        "HeadFailed",
        'edge_app_fault{code="head_failed"} == 1',
        1,
        "error",
        "A head of {{ $labels.instance }} has failed: {{ $labels.name }}.",
    ),
    Alert(
        "MessagesLost",
        "increase(edge_app_messages_lost_total[15m]) > 0",
        0,
        "error",
        "{{ $labels.instance }} drops messages: its queue is full.",
    ),
    Alert(
        "SinkUnreachable",
        "increase(edge_app_sink_sent_total[15m]) == 0 and edge_app_sink_queued > 0",
        15,
        "warning",
        "{{ $labels.instance }} delivers nothing to the sink {{ $labels.sink }}.",
    ),
    Alert("LoadReduced", "edge_app_degraded == 1", 15, "warning", "{{ $labels.instance }} does less to save load."),
    Alert(
        "Hot", "edge_app_temperature_celsius > 80", 10, "warning", "{{ $labels.instance }} is hotter than 80 degrees."
    ),
)
