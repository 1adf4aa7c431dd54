"""Why a network withstands or does not: measures, one study a file."""
