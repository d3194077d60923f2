"""Convert the weights files of other libraries to cards, and cards to such files."""

__all__ = ["checkpoint_files", "exporter", "importer", "key_maps", "reference_networks"]
