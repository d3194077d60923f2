"""What all packages share and that knows no network: files, images, schemas, the project"s place."""

__all__ = ["config_reader", "dataset_checks", "drawing", "fact_cache", "files", "images", "project", "quiet", "schema", "values"]
