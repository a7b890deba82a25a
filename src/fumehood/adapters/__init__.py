"""Adapters: fumehood's sessions where agent frameworks look for a sandbox.

One small module for each framework, and an extra of the same name that installs it. They translate
and do nothing more: what holds of a session holds there too. Importing one imports its framework;
``import fumehood`` imports none of them.

===================================  ==================================================
``fumehood.adapters.pydantic_ai``    a workspace backend and the capability for it
``fumehood.adapters.inspect_ai``     ``sandbox="fumehood"``, found by its entry point
``fumehood.adapters.deepagents``     a sandbox backend for LangChain's Deep Agents
``fumehood.adapters.openai_agents``  a sandbox client for the OpenAI Agents SDK
``fumehood.adapters.smolagents``     a Python executor for smolagents' ``CodeAgent``
===================================  ==================================================
"""
