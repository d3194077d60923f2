"""Cards from and to the weights files of other libraries."""

__all__ = ["checkpoint_files", "exporter", "importer", "key_maps", "reference_networks"]
