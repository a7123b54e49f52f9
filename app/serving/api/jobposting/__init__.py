"""`POST /classify/jobposting`: postings of schema.org, classified and enriched."""
