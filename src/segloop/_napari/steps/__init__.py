"""The steps of the loop: each joins its panel to the session, the viewer's layers and the jobs."""
