"""Related systems as rows: what each recipe learns, beside what simple baselines read from the same data."""
