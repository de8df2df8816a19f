"""From a table with holes to a pair and back: imputation."""
