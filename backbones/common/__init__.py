"""Share what all packages need and no network: files, images, schemas, the paths of the project."""

__all__ = [
    "config_reader",
    "data_files",
    "dataset_checks",
    "drawing",
    "fact_cache",
    "files",
    "images",
    "project",
    "quiet",
    "schema",
    "subsets",
    "values",
]
