"""Names of heads and metrics in reports, tables and cards."""

HEAD_TITLES = {"job_category": "Job category", "min_education": "Minimum education"}

METRIC_TITLES = {
    "rows": "rows",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "top_3": "top-3 accuracy",
    "mean_level_error": "mean level error",
    "ece_before": "calibration error before",
    "ece_after": "calibration error after",
    "temperature": "temperature",
}
"""By the key in `metrics.json`, in the order of tables."""
