"""The few words everything else is said in: ids, money, clock readings, change sets, modules and views."""
