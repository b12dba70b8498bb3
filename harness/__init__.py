"""What is done with scenarios: play them, judge the histories, search, shrink, and keep the results."""
