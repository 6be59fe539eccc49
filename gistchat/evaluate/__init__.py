"""What is measured: likelihood, ranks, replies, metrics with intervals, comparisons, planted facts, judges."""
