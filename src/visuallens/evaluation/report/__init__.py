"""The page that shows what a study comes to, as HTML and Markdown (§6.2, §7)."""
