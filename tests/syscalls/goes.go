// What a Go program does: a server and its clients, children, signals, preemption.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var bad int32

func check(ok bool, what string, err error) {
	if !ok {
		atomic.AddInt32(&bad, 1)
		fmt.Println("bad:", what, err)
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		exe, _ := os.Executable()
		fmt.Println("child of", filepath.Base(exe), len(os.Environ()))
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil, "listen", err)
	answer := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you asked for %s", r.URL.Path)
	}
	go http.Serve(l, http.HandlerFunc(answer))
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			for k := 0; k < 50; k++ {
				path := fmt.Sprintf("/%d/%d", i, k)
				r, err := http.Get("http://" + l.Addr().String() + path)
				if err != nil {
					check(false, "get", err)
					continue
				}
				text, err := io.ReadAll(r.Body)
				r.Body.Close()
				check(string(text) == "you asked for "+path, "text", err)
			}
		}(i)
	}
	all.Wait()

	// Goroutines that never call: only signals stop them.
	stop := int32(0)
	for i := 0; i < 2; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; atomic.LoadInt32(&stop) == 0; n++ {
			}
		}()
	}
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR1)
	runtime.GC()
	err = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	check(err == nil, "kill", err)
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		check(false, "no signal", nil)
	}
	atomic.StoreInt32(&stop, 1)
	all.Wait()

	for i := 0; i < 5; i++ {
		command := exec.Command("/proc/self/exe", "child")
		command.Env = []string{"ONE=1"}
		out, err := command.Output()
		check(err == nil, "exec", err)
		if i == 0 {
			fmt.Print(string(out))
		}
	}
	err = exec.Command("/bin/sh", "-c", "exit 3").Run()
	fmt.Println(err)
	_, err = exec.Command("/nonexistent").Output()
	fmt.Println(err)
	exe, err := os.Executable()
	fmt.Println(filepath.Base(exe), filepath.Base(os.Args[0]), err)
	fmt.Println("bad:", bad)
}
