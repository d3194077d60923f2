"""Say what a study has found: the verdict in words, a tile for each metric, the plot of gains and the table of gains."""

__all__ = ["gain_plot", "main_table", "sentences", "tiles", "wording"]
