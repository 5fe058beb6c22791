"""What only the notebooks use. It stands on the library, never the other way."""
