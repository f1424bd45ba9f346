"""The embedded worlds, the agent that acts in them, and the closed loop from acting to a better agent."""
