proc draw_plots {} { return {} }
