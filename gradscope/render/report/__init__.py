"""One HTML file that holds a diagnosis and needs nothing else: ``page.page`` makes it of what ``payload.payload`` gathers."""
