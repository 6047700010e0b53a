"""Runtime step 3 and every baseline: RankingRequest → Ranking."""
