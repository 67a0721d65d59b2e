// Command operator is an operator as its author would write it with controller-runtime: a custom resource, a ConfigMap that it
// owns, a status, a finalizer, a lease. It works on widgets of its own and prints what it saw.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	namespace = "operator"
	finalizer = "widgets.example.org/goodbye"
	deadline  = 60 * time.Second
)

var kind = schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Widget"}

func widget(name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}

func definition() *apiextensions.CustomResourceDefinition {
	text := apiextensions.JSONSchemaProps{Type: "string"}
	object := func(properties map[string]apiextensions.JSONSchemaProps) apiextensions.JSONSchemaProps {
		return apiextensions.JSONSchemaProps{Type: "object", Properties: properties}
	}
	whole := object(map[string]apiextensions.JSONSchemaProps{
		"spec":   object(map[string]apiextensions.JSONSchemaProps{"text": text}),
		"status": object(map[string]apiextensions.JSONSchemaProps{"shown": text}),
	})
	return &apiextensions.CustomResourceDefinition{
		ObjectMeta: v1.ObjectMeta{Name: "widgets.example.org"},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Group: kind.Group,
			Scope: apiextensions.NamespaceScoped,
			Names: apiextensions.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: kind.Kind, ListKind: "WidgetList"},
			Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: kind.Version, Served: true, Storage: true,
				Schema:       &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &whole},
				Subresources: &apiextensions.CustomResourceSubresources{Status: &apiextensions.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}

type reconciler struct {
	client.Client
	goodbyes chan string
}

// Reconcile makes the widget's ConfigMap say its text, and says goodbye before the widget goes.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	object := widget(request.Name)
	if err := r.Get(ctx, request.NamespacedName, object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !object.GetDeletionTimestamp().IsZero() {
		if controllerutil.RemoveFinalizer(object, finalizer) {
			if err := r.Update(ctx, object); err != nil {
				return ctrl.Result{}, client.IgnoreNotFound(err)
			}
			r.goodbyes <- request.Name
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(object, finalizer) {
		return ctrl.Result{}, r.Update(ctx, object)
	}
	text, _, _ := unstructured.NestedString(object.Object, "spec", "text")
	settings := &corev1.ConfigMap{ObjectMeta: v1.ObjectMeta{Namespace: namespace, Name: request.Name}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, settings, func() error {
		settings.Data = map[string]string{"text": text}
		return controllerutil.SetControllerReference(object, settings, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	before := object.DeepCopy()
	if err := unstructured.SetNestedField(object.Object, text, "status", "shown"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Patch(ctx, object, client.MergeFrom(before))
}

func run(ctx context.Context) error {
	config := ctrl.GetConfigOrDie()
	all := runtime.NewScheme()
	if err := scheme.AddToScheme(all); err != nil {
		return err
	}
	if err := apiextensions.AddToScheme(all); err != nil {
		return err
	}
	direct, err := client.New(config, client.Options{Scheme: all})
	if err != nil {
		return err
	}
	if err := direct.Create(ctx, &corev1.Namespace{ObjectMeta: v1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	if err := direct.Create(ctx, definition()); err != nil {
		return err
	}
	if err := until(ctx, "the definition is established", func(ctx context.Context) (bool, error) {
		found := &apiextensions.CustomResourceDefinition{}
		err := direct.Get(ctx, client.ObjectKey{Name: "widgets.example.org"}, found)
		for _, condition := range found.Status.Conditions {
			if condition.Type == apiextensions.Established && condition.Status == apiextensions.ConditionTrue {
				return true, err
			}
		}
		return false, err
	}); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:         all,
		Metrics:        server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: "operator.example.org", LeaderElectionNamespace: namespace,
	})
	if err != nil {
		return err
	}
	ours := &reconciler{Client: manager.GetClient(), goodbyes: make(chan string, 1)}
	if err := ctrl.NewControllerManagedBy(manager).For(widget("")).Owns(&corev1.ConfigMap{}).Complete(ours); err != nil {
		return err
	}
	ended := make(chan error, 1)
	managing, stop := context.WithCancel(ctx)
	go func() { ended <- manager.Start(managing) }()
	if err := scenario(ctx, direct, ours.goodbyes); err != nil {
		stop()
		return err
	}
	stop()
	return <-ended
}

// scenario is what a user of the operator does.
func scenario(ctx context.Context, direct client.Client, goodbyes <-chan string) error {
	one := widget("one")
	if err := unstructured.SetNestedField(one.Object, "first", "spec", "text"); err != nil {
		return err
	}
	if err := direct.Create(ctx, one); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(one)
	shows := func(text string) error {
		return until(ctx, "the widget and its ConfigMap show "+text, func(ctx context.Context) (bool, error) {
			settings := &corev1.ConfigMap{}
			if err := direct.Get(ctx, key, settings); err != nil {
				return false, client.IgnoreNotFound(err)
			}
			if err := direct.Get(ctx, key, one); err != nil {
				return false, err
			}
			shown, _, _ := unstructured.NestedString(one.Object, "status", "shown")
			return shown == text && settings.Data["text"] == text, nil
		})
	}
	if err := shows("first"); err != nil {
		return err
	}
	changed := one.DeepCopy()
	if err := unstructured.SetNestedField(changed.Object, "second", "spec", "text"); err != nil {
		return err
	}
	if err := direct.Patch(ctx, changed, client.MergeFrom(one)); err != nil {
		return err
	}
	if err := shows("second"); err != nil {
		return err
	}
	if err := direct.Delete(ctx, &corev1.ConfigMap{ObjectMeta: v1.ObjectMeta{Namespace: namespace, Name: "one"}}); err != nil {
		return err
	}
	if err := shows("second"); err != nil {
		return fmt.Errorf("the ConfigMap was deleted: %w", err)
	}
	if err := direct.Delete(ctx, one); err != nil {
		return err
	}
	select {
	case <-goodbyes:
	case <-time.After(deadline):
		return fmt.Errorf("the finalizer was not run within %s", deadline)
	}
	return until(ctx, "the widget's ConfigMap is collected", func(ctx context.Context) (bool, error) {
		err := direct.Get(ctx, key, &corev1.ConfigMap{})
		return errors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}

func until(ctx context.Context, what string, holds wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, deadline, true, holds); err != nil {
		return fmt.Errorf("not within %s: %s: %w", deadline, what, err)
	}
	fmt.Println("ok:", what)
	return nil
}

func main() {
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	if err := run(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
