"""The project that ``antiphon init`` writes."""
