"""List the options of each trick with their defaults, independently of the catalogue; a teacher has no default."""

TEACHER = "work_dirs/runs/0123456789ab/card"
DEFAULTS = {
    "large_batch": {"factor": 4},
    "low_precision": {"dtype": "auto"},
    "mixup": {"alpha": 0.2, "schedule": "paper"},
    "label_smoothing": {"eps": 0.1, "form": "paper"},
    "distillation": {"teacher": TEACHER, "temperature": 20.0, "form": "paper"},
    "warmup": {"start": "first"},
}
