"""From results to tables: Markdown, a block for each thing measured at each rate, and ratios to profrec's figures."""

# Key, title, unit, whether a ratio makes sense.
METRICS = [
    ("samples", "samples", "", False),
    ("bytes_per_sample", "bytes/sample", "B", True),
    ("bytes_per_sample_bare", "bytes/sample, nothing embedded", "B", False),
    ("complete_percent", "complete stacks", "%", False),
    ("kernel_us_per_sample", "BPF/sample", "us", False),
    ("cpu_us_per_sample", "CPU/sample", "us", True),
    ("cpu_us_per_sample_steady", "CPU/sample, steady", "us", True),
    ("cpu_percent_steady", "CPU, steady", "% of one", True),
    ("start_and_end_ms", "CPU of start and end", "ms", True),
    ("waits_per_second", "wake-ups/s", "", True),
    ("interrupted_us_per_sample", "interrupted/sample", "us", True),
    ("transactions_per_second", "transactions/s", "", False),
    ("transactions_per_second_change_percent", "transactions/s, change", "%", False),
    ("p99_ms", "latency, p99", "ms", False),
    ("p99_ms_change_percent", "latency, p99, change", "%", False),
    ("processes_per_second", "processes/s", "", False),
    ("processes_per_second_change_percent", "processes/s, change", "%", False),
    ("recorder_cpu_percent", "CPU of the recorder", "% of one", True),
    ("peak_mb", "peak memory", "MB", True),
    ("report_seconds", "report time", "s", True),
    ("report_mb", "report memory", "MB", True),
    ("svg_seconds", "SVG time", "s", False),
    ("first_sample_ms", "first sample", "ms", True),
]


def add_ratios(results):
    """Gives each other tool's result how many times profrec's figure its own are."""
    own = {(result["workload"], result["rate"]): result for result in results if result["tool"] == "profrec"}
    for result in results:
        reference = own.get((result["workload"], result["rate"]))
        if result["tool"] == "profrec" or not reference:
            continue
        keys = [key for key, _, _, has_ratio in METRICS if has_ratio and result.get(key) and reference.get(key)]
        result["ratios"] = {key: result[key] / reference[key] for key in keys}


def figure(value, unit):
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 or unit == "" else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def block(results):
    """The table of one workload at one rate."""
    first = results[0]
    lines = [f"| {first['workload']}, {first['rate']} Hz | " + " | ".join(result["tool"] for result in results) + " |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for key, title, unit, _ in METRICS:
        if all(result.get(key) is None for result in results):
            continue
        cells = []
        for result in results:
            cell = figure(result.get(key), unit)
            if ratio := result.get("ratios", {}).get(key):
                cell += f" (x{ratio:.3g})"
            cells.append(cell)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def table(results):
    lines = []
    for what in dict.fromkeys((result["workload"], result["rate"]) for result in results):
        lines += ["", *block([result for result in results if (result["workload"], result["rate"]) == what])]
    return "\n".join([*lines, "", "In brackets: how many times profrec's figure it is."])
