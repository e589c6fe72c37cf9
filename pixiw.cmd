@echo off
rem Runs a task: pixiw run TASK. By pixi where there is one, else by labchannel from the same
rem pixi.toml. All that it decides is in python\labchannel\pixiw.py.
setlocal
set "script=%~dp0python\labchannel\pixiw.py"
for %%v in (3.14 3.13 3.12 3.11) do (
    py -%%v -c "" >nul 2>nul && (
        py -%%v "%script%" %*
        exit /b
    )
)
python -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul && (
    python "%script%" %*
    exit /b
)
where pixi >nul 2>nul && (
    pixi %*
    exit /b
)
echo pixiw: it needs Python 3.11 or later, or pixi, and found neither. 1>&2
echo Install one (winget install Python.Python.3.13), then start again. 1>&2
exit /b 1
