"""Tables, sentences, plots and the page of a report. Needs neither torch nor transformers."""
