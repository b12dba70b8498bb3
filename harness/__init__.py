"""What is done with scenarios: play them, judge the histories, measure the harness on planted bugs, and keep the results."""
