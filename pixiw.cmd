@echo off
rem Runs a task: pixiw run TASK. By pixi where there is one, else by labchannel from the same
rem pixi.toml. All that it decides is in python\labchannel\pixiw.py; this finds a Python for it.
rem It is written without blocks and &&, so that the cmd.exe of Wine runs it too, where it is tested.
setlocal
set "script=%~dp0python\labchannel\pixiw.py"
set "python="
call :try python
call :try py -3
if defined python goto python
pixi --version >nul 2>nul
if errorlevel 1 goto nothing
pixi %*
exit /b %errorlevel%

:python
%python% "%script%" %*
exit /b %errorlevel%

:nothing
echo pixiw: it needs Python 3.11 or later, or pixi, and found neither. 1>&2
echo Install one (winget install Python.Python.3.13), then start again. 1>&2
exit /b 1

:try
if defined python goto :eof
rem By call: the python of pyenv-win is a python.bat, which would not come back otherwise.
call %* -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul
if errorlevel 1 goto :eof
set "python=%*"
goto :eof
